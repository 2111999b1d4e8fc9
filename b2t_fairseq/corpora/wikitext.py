"""Text for language models in WikiText's layout: a paragraph a line, words between spaces, the line's end a word, too.

Official files, `wiki.train.tokens` as well as `wiki.train.raw`, are tokenised already and are taken as they are.
Text that is not gets WikiText's tokenisation: Moses for English, hyphens inside words as ` @-@ `, separators inside
numbers as ` @,@ ` and ` @.@ `. Rare words become `<unk>` later, by `preprocess --thresholdsrc`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import parallel_text
from .parallel_text import CorpusError

SPLITS = ("train", "valid", "test")
TOKENISATIONS = ("auto", "none", "wikitext")
ARTICLE = re.compile(r"= [^=](?:.*[^=])? =")  # `= Title =`, not `= = Section = =`
NUMBER_SEPARATOR = re.compile(r"(?<=\d)([.,])(?=\d)")
IDENTIFIER = r"\w*_\w+"  # of programs; stays one word
ENDS = re.compile(r"(\S?)[,.](?=\s|$)")  # a comma or full stop where a word ends, with what it sticks to


@dataclass(frozen=True)
class Text:
    """Tokenised lines of each split, and how they came to be.

    Attributes:
        splits: train, valid and test; words are separated by one space, an empty line stays.
        signature: corpus, layout and tokenisation.
    """

    splits: Mapping[str, Sequence[str]]
    signature: str


def load(folder: Path, tokenisation: str = "auto") -> Text:
    """Read a folder with `wiki.{train,valid,test}.{tokens,raw}`, `{train,valid,test}.txt`, or a part of WikiText-2.

    That part, `valid.txt` with `test_first_half.txt`, is for small experiments: training on the first, and the
    second one's articles are halved into validation and test.

    Raises:
        CorpusError: a missing or ambiguous file, no text in it, or text that is not UTF-8.
    """
    files, layout = find(folder)
    lines = {name: parallel_text.read(path) for name, path in files.items()}
    for name, content in lines.items():
        if not any(content):
            raise CorpusError(f"{files[name]}: the file has no text; it needs one paragraph per line.")
    if layout == "evaluation part":
        lines["valid"], lines["test"] = halves(lines.pop("test"), files["test"])
    if tokenisation == "auto":
        tokenisation = "none" if is_tokenised(lines["train"]) else "wikitext"
    if tokenisation == "wikitext":
        lines = {name: tokenise(content) for name, content in lines.items()}
    return Text(lines, f"corpus:wikitext|layout:{layout}|tokenise:{tokenisation}")


def find(folder: Path) -> tuple[dict[str, Path], str]:
    """Return the files of the splits by name, and the layout's name."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CorpusError(f"{folder} {what}; give the folder that holds wiki.train.tokens and others.")
    for layout, pattern in (
        ("tokens", "wiki.{}.tokens"),
        ("raw", "wiki.{}.raw"),
        ("txt", "{}.txt"),
    ):
        files = {split: name_of(folder, pattern.format(split)) for split in SPLITS}
        if files["train"]:
            missing = [pattern.format(split) for split, path in files.items() if not path]
            if missing:
                raise CorpusError(f"{folder} has no {' and no '.join(missing)}; add what is missing.")
            return files, layout
    files = {"train": name_of(folder, "valid.txt"), "test": name_of(folder, "test_first_half.txt")}
    if all(files.values()):
        return files, "evaluation part"
    raise CorpusError(f"{folder} has no wiki.train.tokens, wiki.train.raw or train.txt (plain or .gz); add one.")


def name_of(folder: Path, name: str) -> Path | None:
    """Return the file, plain or packed; None if there is neither."""
    paths = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if len(paths) > 1:
        raise CorpusError(f"{folder} has both {name} and {name}.gz; keep one of them.")
    return paths[0] if paths else None


def halves(lines: Sequence[str], path: Path) -> tuple[list[str], list[str]]:
    """Return two parts of about the same size, cut where an article begins."""
    starts = [number for number, line in enumerate(lines) if ARTICLE.fullmatch(line)]
    if len(starts) < 2:
        raise CorpusError(f"{path} has no two articles (lines such as '= Title ='): there is nothing to halve.")
    cut = min(starts[1:], key=lambda start: abs(start - len(lines) / 2))
    return list(lines[:cut]), list(lines[cut:])


def is_tokenised(lines: Sequence[str]) -> bool:
    """Return whether most commas and full stops stand alone, as words; judged on the first ten thousand lines."""
    before = [match for line in lines[:10_000] for match in ENDS.findall(line)]
    return 2 * sum(not character for character in before) > len(before)


def tokenise(lines: Sequence[str]) -> list[str]:
    """Tokenise plain text as WikiText does: `It's 1,200 m-wide.` becomes `It 's 1 @,@ 200 m @-@ wide .`."""
    from sacremoses import MosesTokenizer

    moses = MosesTokenizer(lang="en")
    options = {"aggressive_dash_splits": True, "return_str": True, "escape": False, "protected_patterns": [IDENTIFIER]}
    return [NUMBER_SEPARATOR.sub(r" @\1@ ", moses.tokenize(line, **options)) for line in lines]
