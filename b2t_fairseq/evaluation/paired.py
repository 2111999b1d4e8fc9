"""The paired bootstrap over sentences (Koehn 2004) for scores that are a sum over sentences divided by another.

ROUGE is the sum of F1 over the number of headlines, an error rate the errors over the reference words. BLEU has
SacreBLEU's own. p is two-sided and computed as SacreBLEU does: the share of draws, centred at the mean difference of
all draws, whose difference is at least the observed one.
"""

from collections.abc import Sequence

import numpy

SAMPLES, SEED = 1000, 12345


def paired_bootstrap(
    first: Sequence[tuple[float, float]],
    second: Sequence[tuple[float, float]],
    samples: int = SAMPLES,
    seed: int = SEED,
) -> float:
    """Return p of the hypothesis that two systems do not differ.

    Args:
        first: of the first system, for each sentence: what is summed above, and below the line.
        second: of the second system, for the same sentences.
        samples: how often the sentences are drawn anew.
        seed: of those draws.
    """
    sides = numpy.array([first, second], dtype=float)  # (2, N, 2)
    if (sides[0] == sides[1]).all():
        return 1.0
    observed = abs(difference(sides.sum(axis=1)))
    draws = numpy.random.default_rng(seed).integers(sides.shape[1], size=(samples, sides.shape[1]))
    differences = numpy.array([difference(sides[:, draw].sum(axis=1)) for draw in draws])
    larger = (abs(differences - differences.mean()) >= observed - 1e-12).sum()
    return float((larger + 1) / (samples + 1))


def difference(sums: numpy.ndarray) -> float:
    """Return the second system's ratio less the first's, from their sums (2, 2)."""
    (top, bottom), (other_top, other_bottom) = sums
    return other_top / other_bottom - top / bottom


def signature(samples: int = SAMPLES, seed: int = SEED) -> str:
    """Return how p was computed."""
    return f"paired bootstrap|samples:{samples}|seed:{seed}"
