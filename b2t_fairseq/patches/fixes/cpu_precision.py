"""Refuse `--fp16` on the CPU, and train with `--amp` in bfloat16 there.

Without it: `--fp16` on CPU dies with "Torch not compiled with CUDA enabled", and `--amp` on CPU trains in fp32 while
its configuration claims otherwise.
Versions: every fairseq so far; any torch.
Unnecessary: once fairseq hands the device on to its fp16 optimizer and to autocast.

`--fp16` ends in a one-line error: fairseq's handling of an overflow needs CUDA as well, so a longer run would die later
anyway. `--amp` computes the loss under torch's autocast to bfloat16, which needs no loss scaling: matrix products in
bfloat16, parameters, gradients, optimizer and the rest in fp32. One line in the log says so, and another one warns that
fp32 would be faster where the processor has no fast bfloat16.
"""

import logging

import torch
from fairseq import trainer

from ...common.errors import UserError
from ..wrap import wrap

logger = logging.getLogger(__name__)


def apply() -> None:
    wrap(trainer.Trainer, "__init__", __name__, _make)


def _make(original):
    def __init__(self, cfg, *args, **kwargs):
        common = getattr(cfg, "common", None)
        on_cpu = common is not None and not common.tpu and (common.cpu or not torch.cuda.is_available())
        autocast = on_cpu and _check(common)
        original(self, cfg, *args, **kwargs)
        if autocast:
            criterion = self.get_criterion()
            criterion.forward = torch.autocast("cpu", dtype=torch.bfloat16)(criterion.forward)

    return __init__


def _check(common) -> bool:
    """Refuse what cannot be done; return whether to train under autocast."""
    # fairseq's two other fp16 modes do start on a CPU; they are left alone
    special = common.memory_efficient_fp16 or getattr(common, "fp16_no_flatten_grads", False)
    if common.fp16 and not special:
        raise UserError("--fp16 trains on CUDA GPUs only, and this run is on the CPU: use --bf16, or leave --fp16 out.")
    if not common.amp:
        return False
    common.amp = False  # fairseq's own form of it, with a gradient scaler, is CUDA's
    logger.info("--amp on the CPU: matrix products in bfloat16, parameters and optimizer in fp32")
    if not has_fast_bf16():
        logger.warning(
            "--amp: this processor has no fast bfloat16 (AVX512-BF16 or AMX); training in fp32 is faster here"
        )
    return True


def has_fast_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware."""
    supports = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(ask() for ask in supports if ask is not None)
