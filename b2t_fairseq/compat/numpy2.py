"""The name `np.compat.long`, which numpy 2 removed.

Without it: `AttributeError: module 'numpy' has no attribute 'compat'` in generation and interactive use of a language
model, with `--sample-break-mode eos`, and with `--num-batch-buckets`.
Versions: every fairseq so far, with numpy >= 2.0.
Unnecessary: with numpy 1, or once fairseq writes `np.int64` there.
"""

import types

import numpy as np


def apply() -> None:
    if "compat" not in vars(np):  # hasattr would go through numpy's own __getattr__, which may warn
        np.compat = types.SimpleNamespace(long=int)
