"""On a CPU, keep the memory that one training step frees for the next step.

Without it: glibc returns large freed blocks to the system at once and requests them again, page by page and zeroed, at
the next step. At 18-18 layers that is 60,000 page faults a step, which are slow on a virtual machine.
Versions: Linux with glibc, where torch sees no GPU and the user has no allocator settings of their own.

Two settings of glibc (mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD) make it keep the blocks. The process then does
not shrink between peaks, and its peak grows by a few per cent. Narrow models with large batches pay more, up to 1.7
times at width 64 with 8,192 tokens: the output layer's blocks of 300 MB leave holes, and smaller blocks break these up.
With those blocks outside the heap, these steps took a third longer.
"""

import ctypes
import os
import sys
from typing import Any

import torch

from ..wrap import record

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1
OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def apply() -> str | None:
    """Set the allocator up; return why not, or None."""
    reason = why_not()
    if reason is None:
        keep_freed_memory()
        record(__name__, "glibc's mallopt (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD)")
    return reason


def why_not() -> str | None:
    """Return why the allocator stays as it is, or None."""
    if not sys.platform.startswith("linux") or _mallopt() is None:
        return "no glibc"
    if torch.cuda.is_available():
        return "GPU present"
    settings = [name for name in OWN_SETTINGS if os.environ.get(name)]
    return f"{settings[0]} is set" if settings else None


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks."""
    mallopt = _mallopt()
    mallopt(M_TRIM_THRESHOLD, LARGEST)
    if not mallopt(M_MMAP_THRESHOLD, LARGEST // 2):
        mallopt(M_MMAP_THRESHOLD, 2**25)  # older glibc refuses more than 32 MB


def _mallopt() -> Any:
    return getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
