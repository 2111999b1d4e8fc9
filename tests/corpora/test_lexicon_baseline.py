"""The word-by-word baseline."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import sacrebleu

from b2t_fairseq.corpora.parallel_text import find, load_split
from b2t_fairseq.experiments.baselines.lexicon import LexiconBaseline

PAIRS = [
    ("The dog sleeps.", "Der Hund schläft."),
    ("The cat sleeps.", "Die Katze schläft."),
    ("Today the dog eats.", "Heute isst der Hund."),
    ("Today the cat eats.", "Heute isst die Katze."),
    ("A dog, a cat!", "Ein Hund, eine Katze!"),
]


def test_learns_words_from_cooccurrence() -> None:
    baseline = LexiconBaseline.fit(PAIRS, iterations=20)
    expected = {"dog": "Hund", "cat": "Katze", "sleeps": "schläft"}
    assert {word: baseline.lexicon[word] for word in expected} == expected


def test_em_is_model_one_by_hand() -> None:
    """Each choice is the argmax of the textbook loops, on random pairs of made-up words."""
    draw = random.Random(1)
    words = [draw.choices("abcdef", weights=(8, 5, 3, 2, 2, 1), k=draw.randrange(1, 5)) for _ in range(40)]
    pairs = [(source, [draw.choice((e.upper() + "x", "Zz")) for e in source]) for source in words]
    table = {(e, f): 1.0 for source, target in pairs for e in ["NULL", *source] for f in target}
    for _ in range(6):
        counts = dict.fromkeys(table, 0.0)
        for source, target in pairs:
            for f in target:
                total = sum(table[e, f] for e in ["NULL", *source])
                for e in ["NULL", *source]:
                    counts[e, f] += table[e, f] / total
        totals = {e: sum(c for (other, _), c in counts.items() if other == e) for e, _ in counts}
        table = {(e, f): c / totals[e] for (e, f), c in counts.items()}
    fitted = LexiconBaseline.fit([(" ".join(source), " ".join(target)) for source, target in pairs])
    assert set(fitted.lexicon) == set("abcdef")
    for e, f in fitted.lexicon.items():
        assert table[e, f] == pytest.approx(max(p for (other, _), p in table.items() if other == e), abs=1e-9)


def test_copies_unknown_words_and_attaches_punctuation() -> None:
    baseline = LexiconBaseline({"the": "der", "dog": "Hund"})
    assert baseline.translate("the dog (Rex), 3 dogs!") == "Der Hund (Rex), 3 dogs!"
    assert baseline.translate("") == ""


def test_deterministic_and_tolerant() -> None:
    first, second = (list(LexiconBaseline.fit(PAIRS).lexicon.items()) for _ in range(2))
    assert first == second
    assert LexiconBaseline.fit([]).translate("Hello.") == "Hello."
    assert LexiconBaseline.fit([("...", "!"), ("a", "...")]).translate("a b.") == "A b."


@pytest.mark.skipif("B2T_DATA" not in os.environ, reason="B2T_DATA is not set")
def test_multi30k_in_seconds() -> None:
    found = find(Path(os.environ["B2T_DATA"]) / "multi30k", "en", "de")
    start = time.process_time()
    baseline = LexiconBaseline.fit(load_split(found.train))
    assert time.process_time() - start < 30
    test = load_split(found.tests["test_2016_flickr"])
    score = sacrebleu.corpus_bleu([baseline.translate(source) for source, _ in test], [[target for _, target in test]])
    assert 9 < score.score < 15
