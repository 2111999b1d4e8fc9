"""Clip the gradients of a training with `--cpu` on a machine that has a GPU.

Without it: `fairseq-train --cpu` where torch sees a GPU dies in the first update with "scalar tensor is expected to be
on cpu but is on cuda:0". fairseq computes the norm on the GPU because there is one.
Versions: every fairseq so far; torch with CUDA.
Unnecessary: once `clip_grad_norm_` asks the gradients for their device.
"""

import contextlib
from collections.abc import Iterator

import torch
from fairseq import utils

from ..wrap import wrap


def apply() -> None:
    wrap(utils, "clip_grad_norm_", __name__, _make)


def _make(original):
    def clip_grad_norm_(params, max_norm, aggregate_norm_fn=None):
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        if any(p is not None and p.device.type != "cpu" for p in params):
            return original(params, max_norm, aggregate_norm_fn)
        with _hidden_gpus():
            return original(params, max_norm, aggregate_norm_fn)

    return clip_grad_norm_


@contextlib.contextmanager
def _hidden_gpus() -> Iterator[None]:
    """Let torch say that there is no GPU."""
    asked, torch.cuda.is_available = torch.cuda.is_available, lambda: False
    try:
        yield
    finally:
        torch.cuda.is_available = asked
