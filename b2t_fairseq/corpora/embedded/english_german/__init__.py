"""An English-German corpus made by a synchronous grammar written for this project: synthetic, but correct German.

Both sentences of a pair are said from one abstract clause (`clauses.py`), so the German has its own order and
agreement: the verb second, last or split (Der Zug kommt um halb drei an), cases and adjective
endings, kein and nicht, compounds, numbers, dates and times. The words are in `words.py`, the kinds of sentences in
`simple.py` and `complex.py`.

How much variety a model has to learn is set in three places, the strongest first: the word lists themselves,
`sentences.FAMILIES` (how often each kind of sentence comes), `choices.ZIPF_EXPONENT` (how rare the rare words are).
About 530 English and 1,000 German word forms: a joint subword vocabulary of 1,800 keeps nearly all of them whole, which
small models learn far sooner than one of 1,000.

    python -m b2t_fairseq.corpora.embedded.english_german --output DIR [--seed N]
"""

from __future__ import annotations

import os
from pathlib import Path

from ....common.files import write_atomically
from .draw import Draw
from .sentences import sentence

SPLIT_SIZES = {"train": 24_000, "valid": 500, "test": 500}
MAX_WORDS = 18  # of the English sentence; longer ones are drawn again
_FILES = {"train": "train", "valid": "val", "test": "test"}  # the Multi30k layout says val


def generate(split_sizes: dict[str, int] | None = None, seed: int = 1) -> dict[str, list[tuple[str, str]]]:
    """Return the corpus: (English, German) pairs by split.

    No English and no German sentence occurs twice, neither within a split nor in two splits. Splits are drawn from one
    shuffled whole, so they are alike; other sizes give another corpus.

    Args:
        split_sizes: pairs per split; by default SPLIT_SIZES.
        seed: the same seed gives the same corpus on every machine.
    """
    sizes = SPLIT_SIZES if split_sizes is None else split_sizes
    draw, total = Draw(seed), sum(sizes.values())
    pairs: list[tuple[str, str]] = []
    seen: set[tuple[str, str]] = set()  # ("en" or "de", sentence)
    while len(pairs) < total:
        pair = sentence(draw)
        sides = {("en", pair[0]), ("de", pair[1])}
        if seen.isdisjoint(sides) and len(pair[0].split()) <= MAX_WORDS:
            seen |= sides
            pairs.append(pair)
    draw.shuffle(pairs)
    splits, start = {}, 0
    for split, size in sizes.items():
        splits[split] = pairs[start : start + size]
        start += size
    return splits


def write(directory: str | os.PathLike[str], seed: int = 1) -> None:
    """Write train, val and test as NAME.en and NAME.de (UTF-8, one sentence a line), each file all at once."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for split, pairs in generate(seed=seed).items():
        for side, language in enumerate(("en", "de")):
            write_atomically(directory / f"{_FILES[split]}.{language}", "".join(f"{pair[side]}\n" for pair in pairs))
