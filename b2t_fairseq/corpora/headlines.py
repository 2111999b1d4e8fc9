"""Texts with their headlines: a folder in Gigaword's layout, or a table of `text TAB headline` lines.

Evaluation data are taken as they are or refused: an empty line is an error that names file and line. Of the training
data, pairs with an empty side, repeated pairs, and texts that also stand in valid or test are left out and counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import parallel_text
from .parallel_text import CorpusError

Pairs = Sequence[tuple[str, str]]
SHARE, MOST = 20, 2000  # of a table, one twentieth is for validation and as much for testing, but at most 2000 lines
#: split -> the names its files may have, text and headline, in the folder itself or in `train` and `Giga`
GIGAWORD = {
    "train": [("train.article.txt", "train.title.txt")],
    "valid": [("valid.article.txt", "valid.title.txt"), ("valid.article.filter.txt", "valid.title.filter.txt")],
    "test": [("input.txt", "task1_ref0.txt"), ("test.article.txt", "test.title.txt")],
}
WORD = re.compile(r"[a-z0-9]", re.IGNORECASE)  # what ROUGE sees of a headline


@dataclass(frozen=True)
class Headlines:
    """(text, headline) pairs of each split, where they are from, and how many training pairs were left out."""

    splits: Mapping[str, Pairs]
    signature: str
    left_out: Mapping[str, int]


def load(path: Path) -> Headlines:
    """Read a `.tsv` or `.tsv.gz` file, a folder that holds one, or a folder in Gigaword's layout.

    A table is split by line number, in the order train, valid, test.

    Raises:
        CorpusError: something is missing, ambiguous or malformed, or an evaluation line is empty.
    """
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder; give a .tsv file or the folder of train.article.txt.")
    if path.is_file():
        splits, layout = table(path), f"tsv:{path.name}"
    elif tables := sorted([*path.glob("*.tsv"), *path.glob("*.tsv.gz")]):
        if len(tables) > 1:
            raise CorpusError(f"{path} has the tables {', '.join(t.name for t in tables)}: name one of them.")
        splits, layout = table(tables[0]), f"tsv:{tables[0].name}"
    else:
        splits, layout = gigaword(path), "gigaword"
    splits["train"], left_out = clean(splits["train"], [text for name in ("valid", "test") for text, _ in splits[name]])
    if not splits["train"]:
        raise CorpusError(f"{path}: no training pair is left, {left_out}; are train, valid and test the same text?")
    return Headlines(splits, f"corpus:headlines|{layout}", left_out)


def table(path: Path) -> dict[str, Pairs]:
    """Read the three parts of a table."""
    rows = parallel_text.read_raw(path)
    size = min(MOST, len(rows) // SHARE)
    if not size:
        raise CorpusError(f"{path} has {len(rows)} lines; to be split into train, valid and test it needs {SHARE}.")
    pairs = []
    for number, row in enumerate(rows, 1):
        sides = [parallel_text.clean(side) for side in row.rstrip("\r").split("\t")]
        if len(sides) != 2 or not all(sides):
            raise CorpusError(f"{path}, line {number}: needs a text, one tab and a headline; fix or delete the line.")
        pairs.append((sides[0], sides[1]))
    splits = {"train": pairs[: -2 * size], "valid": pairs[-2 * size : -size], "test": pairs[-size:]}
    for name, first in (("valid", len(pairs) - 2 * size), ("test", len(pairs) - size)):
        check(splits[name], path, first)
    return splits


def gigaword(folder: Path) -> dict[str, Pairs]:
    """Read the three splits of a folder."""
    splits: dict[str, Pairs] = {}
    for split, choices in GIGAWORD.items():
        candidates = [pair for names in choices for pair in places(folder, names)]
        if not candidates:
            raise CorpusError(f"{folder} has no {' and '.join(choices[0])} (plain or .gz); add the {split} set.")
        if len(candidates) > 1:
            raise CorpusError(f"{folder} has both {candidates[0][0]} and {candidates[1][0]}: keep one {split} set.")
        texts, headlines = (parallel_text.read(path) for path in candidates[0])
        if not texts or len(texts) != len(headlines):
            raise CorpusError(
                f"{candidates[0][0]} has {len(texts)} lines and {candidates[0][1]} has {len(headlines)}; "
                "line n of one must be the headline of line n of the other, and there must be one."
            )
        splits[split] = list(zip(texts, headlines, strict=True))
        if split != "train":
            check(splits[split], candidates[0][1], 0)
    return splits


def places(folder: Path, names: tuple[str, str]) -> list[tuple[Path, Path]]:
    """Return every place where both files, plain or packed, are."""
    pairs = []
    for part in (folder, folder / "train", folder / "Giga"):
        sides = [[part / f"{name}{gz}" for gz in ("", ".gz") if (part / f"{name}{gz}").is_file()] for name in names]
        if sum(map(bool, sides)) == 1:
            have, lack = (names[0], names[1]) if sides[0] else (names[1], names[0])
            raise CorpusError(f"{part} has {have} but no {lack}; add it.")
        for side in sides:
            if len(side) > 1:
                raise CorpusError(f"{part} has both {side[0].name} and {side[1].name}; keep one of them.")
        if all(sides):
            pairs.append((sides[0][0], sides[1][0]))
    return pairs


def check(pairs: Pairs, path: Path, first: int) -> None:
    """Refuse evaluation pairs without a text or without a headline that can be scored."""
    for number, (text, headline) in enumerate(pairs, first + 1):
        if not text or not WORD.search(headline):
            what = "an empty text" if not text else "a headline without a letter a-z or digit, which ROUGE cannot score"
            raise CorpusError(f"{path}, line {number}: {what}; delete the pair.")


def clean(pairs: Pairs, evaluated: Sequence[str]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Return the training pairs to keep, and how many were left out for which reason."""
    known, seen, kept = set(evaluated), set(), []
    left_out = {"empty": 0, "repeated": 0, "in valid or test": 0}
    for pair in pairs:
        if not all(pair):
            left_out["empty"] += 1
        elif pair[0] in known:
            left_out["in valid or test"] += 1
        elif pair in seen:
            left_out["repeated"] += 1
        else:
            seen.add(pair)
            kept.append(pair)
    return kept, left_out
