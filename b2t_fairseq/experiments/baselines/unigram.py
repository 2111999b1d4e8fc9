"""The language model without a context: the share of each word in the training text, add-one smoothed.

It knows the model's own vocabulary: words seen less than `threshold` times are one word, `<unk>`, and the line's
end is a word, so its perplexity stands beside the model's as it is. A model that has learned anything is far below.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...evaluation.perplexity import Evaluation

UNKNOWN, END = "<unk>", "</s>"


@dataclass(frozen=True)
class UnigramBaseline:
    """Smoothed counts of the vocabulary, and their sum."""

    counts: dict[str, int]
    total: int

    @classmethod
    def fit(cls, lines: Sequence[str], threshold: int) -> "UnigramBaseline":
        """Count the training text as `preprocess --thresholdsrc` does."""
        raw = Counter(word for line in lines for word in line.split())
        counts = {word: number for word, number in raw.items() if number >= threshold and word != UNKNOWN}
        counts[END] = len(lines)
        counts[UNKNOWN] = sum(raw.values()) - sum(counts.values()) + len(lines)
        smoothed = {word: number + 1 for word, number in counts.items()}
        return cls(smoothed, sum(smoothed.values()))

    def evaluate(self, lines: Sequence[str]) -> Evaluation:
        """Return the bits for each token of a text."""
        words = [word for line in lines for word in (*line.split(), END)]
        occurrences = Counter(self.counts.get(word, self.counts[UNKNOWN]) for word in words)
        bits = -sum(times * math.log2(count / self.total) for count, times in occurrences.items())
        return Evaluation(bits / len(words), len(words), "1", "0")
