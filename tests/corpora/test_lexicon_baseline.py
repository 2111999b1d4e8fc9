"""The word-by-word baseline."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import sacrebleu

from b2t_fairseq.corpora.lexicon_baseline import LexiconBaseline
from b2t_fairseq.corpora.parallel_text import find, load_split

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
    """Equal to the textbook loops on the small corpus."""
    pairs = [
        (["NULL", *en], de) for en, de in ((["a", "b"], ["x", "y"]), (["a"], ["x"]), (["b", "c"], ["y", "z", "z"]))
    ]
    table = {(e, f): 1.0 for en, de in pairs for e in en for f in de}
    for _ in range(6):
        counts = dict.fromkeys(table, 0.0)
        for en, de in pairs:
            for f in de:
                total = sum(table[e, f] for e in en)
                for e in en:
                    counts[e, f] += table[e, f] / total
        totals = {e: sum(c for (other, _), c in counts.items() if other == e) for e, _ in counts}
        table = {(e, f): c / totals[e] for (e, f), c in counts.items()}
    best = {e: max((p, f) for (other, f), p in table.items() if other == e)[1] for e in "abc"}
    fitted = LexiconBaseline.fit([("a b", "x y"), ("a", "x"), ("b c", "y z z")])
    assert fitted.lexicon == best == {"a": "x", "b": "y", "c": "z"}


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
