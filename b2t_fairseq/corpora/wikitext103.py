"""WikiText-103 for language modelling: the official word-level files, checked and binarised.

Whatever interrupts the preparation, run the same command again to resume; steps that are done are kept. The folder's
`manifest.json` says what came from where. `--from` reads `wikitext-103-v1.zip` or `wiki.{train,valid,test}.tokens`.
The corpus needs 3 GB of free disk.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from ..common.errors import UserError
from . import wikitext
from .fetching.binarise import binarise, same_counts
from .fetching.download import Source, obtain
from .fetching.extract import extract
from .fetching.manifest import Manifest, Published
from .fetching.parts import count_lines
from .fetching.prepared import TestSet, describe
from .fetching.steps import counts_of, made_by, need_space_for_all, stamp_of, step

ARCHIVE = Source(
    "wikitext-103-v1.zip",
    (
        "https://wikitext.smerity.com/wikitext-103-v1.zip",
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",
    ),
    None,
    "md5:9ddaacaf6af0710eda8c456decff7832",
    "torchtext 0.18.0",
)
FILES = {split: f"wiki.{split}.tokens" for split in wikitext.SPLITS}
LINES = {"train": 1_801_350, "valid": 3_760, "test": 4_358}  # as torchtext 0.18.0 counts them
TOKENS = Published("training tokens (words and line ends)", 103_000_000, 500_000)
WORDS = Published("different words (with the line's end)", 267_735, 1)
SPACE = 3_000_000_000


def add_options(add: Callable[..., argparse.Action]) -> None:
    """Add the corpus' own options of `prepare`: none."""


def prepare(manifest: Manifest, given: Path | None = None, workers: int = 1, space: int | None = None) -> Path:
    """Write `text` and `data-bin` into the manifest's folder; return `data-bin`.

    Args:
        manifest: the record.
        given: folder with the archive or with wiki.{train,valid,test}.tokens.
        workers: processes.
        space: bytes that must be free to begin (default: what the corpus needs).
    """
    need_space_for_all(manifest.folder, SPACE if space is None else space, "data-bin")
    paths = {split: next(iter(sorted(given.rglob(name))), None) for split, name in FILES.items()} if given else {}
    if any(paths.values()):
        if missing := [FILES[split] for split, path in paths.items() if path is None]:
            raise UserError(f"{given} has no {' and no '.join(missing)}: add what is missing")
        inputs = {"files": [stamp_of(path) for path in paths.values()]}
    else:
        packed = obtain(ARCHIVE, manifest, given)
        inputs = {"archive": manifest.content["sources"][ARCHIVE.name]["sha256"]}

    def text(folder: Path) -> dict[str, int]:
        if any(paths.values()):
            for split, path in paths.items():
                (folder / FILES[split]).symlink_to(path.resolve())
        else:
            extract(packed, folder, lambda name: Path(name).name if Path(name).name in FILES.values() else None)
        if missing := [name for name in FILES.values() if not (folder / name).is_file()]:
            raise UserError(f"{packed} has no {' and no '.join(missing)}: it is not the published archive")
        return count(folder)

    texts = step(manifest, "text", inputs, text)
    counts = counts_of(texts)
    manifest.check(TOKENS, counts["train tokens"])
    manifest.check(WORDS, counts["words"])
    for split, lines in LINES.items():
        manifest.check(Published(f"{split} lines", lines), counts[f"{split} lines"])

    def work(folder: Path) -> dict[str, int]:
        command = ["--only-source"]
        for split, name in FILES.items():
            command += [f"--{split}pref", texts / name]
        binarised = binarise(folder, command, workers)
        same_counts(binarised, {split: texts / name for split, name in FILES.items()})
        return {**binarised, "dictionary": count_lines(folder / "dict.txt")}

    folder = step(manifest, "data-bin", {"text": made_by(texts)}, work)
    describe(manifest, {split: TestSet(split, texts / FILES[split]) for split in ("valid", "test")})
    return folder


def count(folder: Path) -> dict[str, int]:
    """Count lines and tokens of each split, and the training text's different words; a line's end is one of both."""
    counts, words = {}, set()
    for split, name in FILES.items():
        lines = tokens = 0
        with open(folder / name, encoding="utf-8", newline="\n") as file:
            try:
                for line in file:
                    line_words = line.split()
                    lines, tokens = lines + 1, tokens + len(line_words) + 1
                    if split == "train":
                        words.update(line_words)
            except UnicodeDecodeError as error:
                raise UserError(f"{folder / name} is not valid UTF-8 ({error}): fetch it again") from None
        counts |= {f"{split} lines": lines, f"{split} tokens": tokens}
    return {**counts, "words": len(words) + 1}
