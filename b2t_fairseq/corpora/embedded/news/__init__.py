"""News with headlines, made by a grammar that was written for this project: synthetic, but what a headline needs.

Each pair says one event twice. The text says it in full, actively or passively, with who reports it, when, and clauses
about the people and companies in it; often a sentence about an older event stands before it. The headline says who
does what, in the present tense or with `to`, without articles, dates and sources, with nationalities instead of
countries and with the abbreviations of newspapers. So a model has to find the event, drop, reorder and inflect; the
first words of the text are not its headline.

    python -m b2t_fairseq.corpora.embedded.news --output DIR [--seed N]
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ....common.files import write_atomically
from .events import News

SIZES = {"train": 24_000, "valid": 500, "test": 500}
PERMILLE = 40  # of the headlines, for validation, and as many for testing


def generate(sizes: dict[str, int] | None = None, seed: int = 1) -> dict[str, list[tuple[str, str]]]:
    """Return the corpus: (text, headline) pairs by split.

    No text occurs twice, and no headline is in two splits: which split a pair is for is decided by a hash of its
    headline. In evaluation no headline occurs twice.

    Args:
        sizes: pairs of train, valid and test; by default SIZES.
        seed: the same seed gives the same corpus on every machine.
    """
    sizes = SIZES if sizes is None else sizes
    news = News(seed)
    splits: dict[str, list[tuple[str, str]]] = {name: [] for name in sizes}
    texts, headlines = set(), set()
    while any(len(splits[name]) < size for name, size in sizes.items()):
        text, headline = news.pair()
        split = split_of(headline)
        is_new = text not in texts and (split == "train" or headline not in headlines)
        if split in splits and is_new and len(splits[split]) < sizes[split]:
            texts.add(text)
            headlines.add(headline)
            splits[split].append((text, headline))
    return splits


def split_of(headline: str) -> str:
    """Return the split of all pairs with this headline."""
    number = int(hashlib.sha256(headline.encode()).hexdigest(), 16) % 1000
    return "test" if number < PERMILLE else "valid" if number < 2 * PERMILLE else "train"


def write(directory: str | os.PathLike[str], seed: int = 1) -> None:
    """Write the splits in Gigaword's layout, UTF-8, a text and a headline a line."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    names = {"train": ("train.article.txt", "train.title.txt"), "valid": ("valid.article.txt", "valid.title.txt")}
    names |= {"test": ("input.txt", "task1_ref0.txt")}
    for split, pairs in generate(seed=seed).items():
        for side, name in enumerate(names[split]):
            write_atomically(directory / name, "".join(f"{pair[side]}\n" for pair in pairs))
