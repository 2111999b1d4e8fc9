"""On a CPU: memory that one training step frees is kept for the next.

Without it: glibc hands large freed blocks back to the system at once and gets them anew, page by page and zeroed, at
the next step: 60,000 page faults a step at 18-18 layers, which a virtual machine pays for twice. Two settings of its
allocator (mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD) make it keep them. What a process holds at its peak grows
by a few per cent; it no longer shrinks between peaks. Narrow models with large batches pay more, up to 1.7 times at
width 64 with 8,192 tokens, where the output layer's blocks of 300 MB leave holes that smaller ones break up; without
them in the heap those steps took a third longer.
Versions: Linux with glibc, where torch sees no GPU and the user has no allocator settings of their own.
"""

import ctypes
import os
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1
OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def apply() -> None:
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Set the allocator up, unless there is a GPU or the user has settings of their own; whether it was done."""
    if not sys.platform.startswith("linux") or torch.cuda.is_available() or any(map(os.environ.get, OWN_SETTINGS)):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if mallopt is None:
        return False
    # older glibc refuses more than 32 MB
    return bool(mallopt(M_TRIM_THRESHOLD, LARGEST) and any(mallopt(M_MMAP_THRESHOLD, n) for n in (LARGEST // 2, 2**25)))
