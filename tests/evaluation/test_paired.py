"""The paired bootstrap: against a computation in plain Python, at its ends, and its resolution."""

import random

import numpy
import pytest

from b2t_fairseq.evaluation.paired import paired_bootstrap
from b2t_fairseq.evaluation.wer import word_error_rate, word_errors


def by_hand(first, second, samples: int, seed: int) -> float:
    def ratio(side, draw):
        return sum(side[i][0] for i in draw) / sum(side[i][1] for i in draw)

    everything = range(len(first))
    observed = abs(ratio(second, everything) - ratio(first, everything))
    draws = numpy.random.default_rng(seed).integers(len(first), size=(samples, len(first)))
    differences = [ratio(second, draw) - ratio(first, draw) for draw in draws]
    middle = sum(differences) / samples
    return (sum(abs(d - middle) >= observed - 1e-12 for d in differences) + 1) / (samples + 1)


def test_it_is_what_it_says():
    rng = random.Random(3)
    first = [(rng.randrange(4), rng.randrange(5, 9)) for _ in range(40)]
    second = [(max(0, errors + rng.choice([-1, 0, 0, 1])), words) for errors, words in first]
    p = paired_bootstrap(first, second, samples=200, seed=7)
    assert p == pytest.approx(by_hand(first, second, 200, 7)) and 0.05 < p < 1


def test_equal_systems_do_not_differ_and_others_do():
    first = [(1, 4), (0, 5), (2, 6)] * 20
    assert paired_bootstrap(first, first) == 1.0
    assert paired_bootstrap(first, [(errors + 3, words) for errors, words in first]) == pytest.approx(1 / 1001)


def test_errors_of_utterances_sum_up_to_the_rate():
    references = ["one two three", "four five", "six seven eight nine"]
    hypotheses = ["one too three", "four five six", ""]
    counts = word_errors(hypotheses, references)
    assert counts == [(1, 3), (1, 2), (4, 4)]
    assert word_error_rate(hypotheses, references).score == pytest.approx(100 * 6 / 9, abs=0.005)
