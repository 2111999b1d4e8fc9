"""Keep every sentence at the end of a data set.

Without it: when the last batch holds n sentences and n is not a multiple of `--required-batch-size-multiple` (default
8), fairseq silently leaves that batch out in generate, validate and train. The longest sentences get no hypothesis,
scores and losses lack them, and a test set of five sentences ends in a `ZeroDivisionError`. An empty data set ends in
an `IndexError`.
Versions: git main, fairseq-fixed 0.12.3.1, ve-fairseq 0.12.3; any torch.
Unnecessary: with PyPI fairseq 0.12.2, where nothing is lost and the patch changes nothing.
"""

import numpy as np
from fairseq.data import data_utils

from ..wrap import wrap


def apply() -> None:
    wrap(data_utils, "batch_by_size", __name__, _make)


def _make(original):
    def batch_by_size(indices, *args, **kwargs):
        if not isinstance(indices, np.ndarray):  # fairseq also takes a generator, which can be read only once
            indices = np.fromiter(indices, dtype=np.int64, count=-1)
        if len(indices) == 0:
            return []
        batches = list(original(indices, *args, **kwargs))
        # The batches cut `indices` into consecutive pieces, and only the last piece can be missing. It was formed under
        # the same limits as the others, so it keeps to max_tokens and max_sentences.
        kept = sum(map(len, batches))
        return batches if kept == len(indices) else [*batches, indices[kept:]]

    return batch_by_size
