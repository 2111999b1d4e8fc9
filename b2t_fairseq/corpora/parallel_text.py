"""A folder of real parallel text: train, val and test, one file per language, plain or gzip, one sentence per line.

Lines end at LF and nowhere else: str.splitlines would also split at U+2028, NEL or form feeds inside a sentence, and
put every later pair out of step. What is wrong with the text is an error that names file and line; nothing is dropped.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UserError

_VALIDATION = ("val", "valid", "dev")  # one of them
_INVISIBLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]+")  # never part of a word: read as one space


class CorpusError(UserError):
    """What is wrong with a corpus and what to do about it, in one line."""


@dataclass(frozen=True)
class ParallelText:
    """Where the two sides of each split are: (source file, target file); `tests` by name, in alphabetical order."""

    directory: Path
    source: str
    target: str
    train: tuple[Path, Path]
    valid: tuple[Path, Path]
    tests: dict[str, tuple[Path, Path]]

    def splits(self) -> dict[str, tuple[Path, Path]]:
        """Return all splits by name: train, valid and the test sets."""
        return {"train": self.train, "valid": self.valid, **self.tests}


def find(directory: str | os.PathLike[str], source: str, target: str) -> ParallelText:
    """Return a folder's files in the Multi30k layout: train, val (or valid, dev), test* with .SOURCE and .TARGET[.gz].

    Raises:
        CorpusError: the folder, a split or one side of it is missing, or is there twice.
    """
    directory = Path(directory)
    if source == target:
        raise CorpusError(f"source and target are both '{source}': name two languages, e.g. en and de.")
    if not directory.exists():
        raise CorpusError(f"{directory}: no such folder; give the folder that holds train.{source} and others.")
    if not directory.is_dir():
        raise CorpusError(f"{directory} is a file, not a folder; give the folder that holds train.{source} and others.")
    names = {path.name for path in directory.iterdir() if path.is_file()}

    def pair(split: str) -> tuple[Path, Path]:
        return _side(directory, names, split, source), _side(directory, names, split, target)

    def present(split: str) -> bool:
        return any(f"{split}.{language}{gz}" in names for language in (source, target) for gz in ("", ".gz"))

    validation = [split for split in _VALIDATION if present(split)]
    if len(validation) > 1:
        raise CorpusError(f"{directory} has both {' and '.join(validation)}; keep one of them as the validation set.")
    pattern = re.compile(rf"(test.*)\.(?:{re.escape(source)}|{re.escape(target)})(?:\.gz)?")
    tests = sorted({match[1] for name in names if (match := pattern.fullmatch(name))})
    if not tests:
        raise CorpusError(f"{directory} has no test set; add test.{source} and test.{target} (plain or .gz).")
    valid = validation[0] if validation else "val"
    return ParallelText(directory, source, target, pair("train"), pair(valid), {test: pair(test) for test in tests})


def _side(directory: Path, names: set[str], split: str, language: str) -> Path:
    plain, packed = f"{split}.{language}", f"{split}.{language}.gz"
    if plain in names and packed in names:
        raise CorpusError(f"{directory} has both {plain} and {packed}; keep one of them.")
    if plain not in names and packed not in names:
        raise CorpusError(f"{directory} has no {plain} (nor {packed}); add it or choose other languages.")
    return directory / (plain if plain in names else packed)


def read(path: str | os.PathLike[str]) -> list[str]:
    """Read a plain or gzip UTF-8 file as clean lines: each is one line under every reading, stripped, maybe empty.

    A byte-order mark, CR before LF, and control characters, tabs and Unicode line separators within a line become
    spaces; runs of spaces become one. The last line may lack its LF.

    Raises:
        CorpusError: what `read_raw` raises.
    """
    return [clean(line) for line in read_raw(path)]


def clean(line: str) -> str:
    """Clean a line: control characters, tabs and separators become spaces, runs of spaces become one."""
    return _INVISIBLE.sub(" ", line).strip()


def read_raw(path: str | os.PathLike[str]) -> list[str]:
    """Read the lines of a plain or gzip UTF-8 file, with all that is in them but the LF.

    Raises:
        CorpusError: unreadable, not gzip though named so, cut off, or not UTF-8 (with the line).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorpusError(f"{path}: damaged or incomplete gzip file ({error}); fetch or pack it again.") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    lines = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise CorpusError(f"{path}, line {number}: not valid UTF-8; convert the file to UTF-8 first.") from None
    return lines


def load_split(files: tuple[str | os.PathLike[str], str | os.PathLike[str]]) -> list[tuple[str, str]]:
    """Read the sentence pairs of one split, for instance `find(...).train`.

    Raises:
        CorpusError: what `read` raises; no lines, different line counts, or an empty line (the first, and how many).
    """
    source, target = (read(path) for path in files)
    for path, lines in zip(files, (source, target), strict=True):
        if not lines:
            raise CorpusError(f"{path}: the file is empty; it needs one sentence a line.")
    if len(source) != len(target):
        raise CorpusError(
            f"{files[0]} has {len(source)} lines but {files[1]} has {len(target)}; "
            "line n of one must be the translation of line n of the other."
        )
    for path, lines in zip(files, (source, target), strict=True):
        if empty := [number for number, line in enumerate(lines, start=1) if not line]:
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            raise CorpusError(f"{path}, line {empty[0]}: empty line{more}; fill it or delete the line in both files.")
    return list(zip(source, target, strict=True))
