"""Texts like news with their headlines, made by a grammar written for this project: synthetic, in plain English.

A text tells one to four facts, and the headline tells the one of the main clause. Older facts stand in the past
perfect, in subordinate clauses, or in a sentence that follows. The headline turns passives round, says plans by `to`,
drops dates, sources, appositions and adjectives, and says the rest in a headline's words: the country's adjective for
its town, `pct` for percent, 11 for eleven, `probes` for looked into. Which words it may copy and which it must change,
a model has to learn; a text's first words are often those of another fact.

Who acts and on what is in `draw.py`, the kinds of news in `events.py`, what stands around them in `articles.py`, all
words in `words.py`. Everything is in lower case, marks stand between spaces, as in Gigaword.

    python -m b2t_fairseq.corpora.embedded.news --output DIR [--seed N]
"""

from __future__ import annotations

import os
from pathlib import Path

from ....common.files import write_atomically
from .articles import article
from .draw import Draw

SIZES = {"train": 24_000, "valid": 500, "test": 500}
MAX_WORDS = 40  # of the text; longer ones are drawn again


def generate(sizes: dict[str, int] | None = None, seed: int = 1) -> dict[str, list[tuple[str, str]]]:
    """Return the corpus: (text, headline) pairs by split.

    No text and no headline occurs twice, neither within a split nor in two: a test's news never stood in training with
    another date or source. Splits are drawn from one shuffled whole, so they are alike; other sizes give another
    corpus.

    Args:
        sizes: pairs by split; by default SIZES.
        seed: the same seed gives the same corpus on every machine.
    """
    sizes = SIZES if sizes is None else sizes
    draw, total = Draw(seed), sum(sizes.values())
    pairs: list[tuple[str, str]] = []
    texts: set[str] = set()
    headlines: set[str] = set()
    while len(pairs) < total:
        text, headline = article(draw)
        if text not in texts and headline not in headlines and len(text.split()) <= MAX_WORDS:
            texts.add(text)
            headlines.add(headline)
            pairs.append((text, headline))
    draw.shuffle(pairs)
    splits, start = {}, 0
    for split, size in sizes.items():
        splits[split] = pairs[start : start + size]
        start += size
    return splits


def write(directory: str | os.PathLike[str], seed: int = 1) -> None:
    """Write the splits in Gigaword's layout, UTF-8, a text and a headline a line."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    names = {"train": ("train.article.txt", "train.title.txt"), "valid": ("valid.article.txt", "valid.title.txt")}
    names |= {"test": ("input.txt", "task1_ref0.txt")}
    for split, pairs in generate(seed=seed).items():
        for side, name in enumerate(names[split]):
            write_atomically(directory / name, "".join(f"{pair[side]}\n" for pair in pairs))
