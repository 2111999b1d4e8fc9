"""Say in one line that a training worker has ended because another one did.

Without it: each of the other workers shows a traceback of the library that connects them, under which the message of
the one that failed is lost.
Versions: every fairseq so far; any torch.
"""

import os
import sys

import torch

from ..wrap import wrap


def apply() -> None:
    wrap(sys, "excepthook", __name__, _make_excepthook)


def _make_excepthook(original):
    """Say in one line that another worker has ended: its message is the one to read."""

    def excepthook(kind, error, traceback):
        if os.environ.get("B2T_TRACEBACK") or not connection_lost(error):
            return original(kind, error, traceback)
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else "?"
        print(f"rank {rank}: ended, as another rank has ended or does not answer; read its message", file=sys.stderr)

    return excepthook


def connection_lost(error: BaseException) -> bool:
    """Whether this is how a worker notices the end of another one."""
    lost = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
    gloo_or_nccl = isinstance(error, RuntimeError) and any(text in str(error) for text in lost)
    return gloo_or_nccl and any(name in str(error) for name in ("gloo", "NCCL", "TCPStore"))
