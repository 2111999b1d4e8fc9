"""`--fp16` and `--amp` say what they do where there is no GPU.

Without it: `--fp16` on CPU dies with "Torch not compiled with CUDA enabled", and `--amp` on CPU trains in fp32 while
its configuration claims otherwise.
Here: `--fp16` is refused in one sentence (fairseq's handling of an overflow needs CUDA as well, so a longer run would
die later anyway); `--amp` is switched off with one warning.
Versions: every fairseq so far; any torch.
Unnecessary: once fairseq hands the device on to its fp16 optimizer and to autocast.
"""

import logging

import torch
from fairseq import trainer

from ..errors import UserError
from ._wrap import wrap

logger = logging.getLogger(__name__)


def apply() -> None:
    wrap(trainer.Trainer, "__init__", __name__, _make)


def _make(original):
    def __init__(self, cfg, *args, **kwargs):
        common = getattr(cfg, "common", None)
        if common is not None and not common.tpu and (common.cpu or not torch.cuda.is_available()):
            _check(common)
        original(self, cfg, *args, **kwargs)

    return __init__


def _check(common) -> None:
    # fairseq's two other fp16 modes do start on a CPU; who asks for them by name is left alone
    special = common.memory_efficient_fp16 or getattr(common, "fp16_no_flatten_grads", False)
    if common.fp16 and not special:
        raise UserError("--fp16 trains on CUDA GPUs only, and this run is on the CPU: use --bf16, or leave --fp16 out.")
    if common.amp:
        logger.warning("--amp has no effect on the CPU: training in fp32 (use --bf16 for a smaller, faster format)")
        common.amp = False
