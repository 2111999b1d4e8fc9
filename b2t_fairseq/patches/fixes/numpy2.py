"""Supply what numpy removed and fairseq uses: `np.compat.long`, `np.percentile(.., interpolation=..)`.

Without it: `AttributeError: module 'numpy' has no attribute 'compat'` in generation and interactive use of a language
model and with `--sample-break-mode eos`; that or `percentile() got an unexpected keyword argument` with
`--num-batch-buckets`.
Versions: every fairseq so far, with numpy >= 2.0 (`compat`) or >= 2.4 (`interpolation`).
Unnecessary: with older numpy, or once fairseq writes `np.int64` and `method=`.
"""

import types

import numpy as np
from fairseq.data import bucket_pad_length_dataset, data_utils

from ..wrap import record, wrap


def apply() -> None:
    if "compat" not in vars(np):  # hasattr would go through numpy's own __getattr__, which may warn
        np.compat = types.SimpleNamespace(long=int)
        record(__name__, "numpy.compat")
    for user in (data_utils, bucket_pad_length_dataset):  # the second has imported the name
        wrap(user, "get_buckets", __name__, _make_get_buckets)


def _make_get_buckets(original):
    def get_buckets(sizes, num_buckets):
        try:
            return original(sizes, num_buckets)
        except TypeError:  # the bucket sizes are lengths that occur in the data, hence method="lower"
            return np.unique(np.percentile(sizes, np.linspace(0, 100, num_buckets + 1), method="lower")[1:])

    return get_buckets
