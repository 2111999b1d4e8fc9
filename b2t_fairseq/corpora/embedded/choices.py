"""Random choices that every Python version makes alike, for the corpora that are generated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

# How fast a word's frequency falls with its rank in its list; larger means fewer different words in a text.
ZIPF_EXPONENT = 0.6


@cache
def _zipf_weights(count: int) -> list[float]:
    return list(accumulate((rank + 2) ** -ZIPF_EXPONENT for rank in range(count)))


class Choices(random.Random):
    """A seeded source of choices. Uses only methods whose results are the same in every Python version."""

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.random() < probability

    def zipf(self, items: Sequence[Any]) -> Any:
        """Draw one of `items`, the earlier the likelier."""
        return self.choices(items, cum_weights=_zipf_weights(len(items)))[0]

    def of(self, **weights: float) -> str:
        """Draw one of the keywords, by weight."""
        return self.choices(list(weights), weights=list(weights.values()))[0]
