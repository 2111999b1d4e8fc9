"""Peak memory of a side: what it needs at most, above what the process had before the model was built."""

import contextlib
import ctypes
import gc
import re
import resource
import sys
from pathlib import Path

import torch


class Peak:
    """Peak memory above that of now. CPU: resident memory of the process; CUDA: what torch has allocated."""

    def __init__(self, device: str):
        self.device = device
        self.forget()
        self.before = self._bytes()

    def forget(self) -> None:
        """Begin a new peak, where the system can (Linux, CUDA); `before` stays."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc: give back what is free, or it counts as used
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def megabytes(self) -> float:
        """Return the peak above the start, in millions of bytes."""
        return (self._bytes() - self.before) / 1e6

    def _bytes(self) -> int:
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        # not getrusage where it can be helped: what it tells includes the parent's size at the time of the fork
        with contextlib.suppress(OSError):
            status = Path("/proc/self/status").read_text()
            return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
