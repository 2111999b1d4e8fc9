"""Dropout that draws its mask quickly on a CPU."""

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor
from torch.nn import functional as F

from .. import native

is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)  # torch < 2.3 does not tell
STEPS = 2**16  # a 16-bit random number decides about each element


class MaskedByBits(torch.autograd.Function):
    """x times a mask of 0 and 1/(1-p), where p is the nearest multiple of 2^-16.

    torch draws a CPU's dropout masks one number at a time, 9 ns each, 5 to 15 % of a training step. Here one
    64-bit number of the same generator serves four elements. The compiled kernel and torch's operations give the same.
    """

    @staticmethod
    def forward(ctx, x: Tensor, p: float) -> Tensor:
        dropped = min(round(p * STEPS), STEPS - 1)
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        ctx.threshold, ctx.scale = dropped - STEPS // 2, STEPS / (STEPS - dropped)
        ctx.is_compiled = native.suits(x, torch.float32)
        if ctx.is_compiled:
            ctx.save_for_backward(bits)
            return native.dropout(x.contiguous(), bits, ctx.threshold, ctx.scale)
        mask = mask_of(bits, x, ctx.threshold, ctx.scale)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (saved,) = ctx.saved_tensors
        if ctx.is_compiled and not torch.is_grad_enabled():
            return native.dropout(gradient.contiguous(), saved, ctx.threshold, ctx.scale), None
        mask = mask_of(saved, gradient, ctx.threshold, ctx.scale) if ctx.is_compiled else saved
        return gradient * mask, None  # which has gradients of its own


def mask_of(bits: Tensor, like: Tensor, threshold: int, scale: float) -> Tensor:
    """`scale` where bits >= threshold, else 0, with like's shape and dtype."""
    return (bits[: like.numel()] >= threshold).to(like.dtype).mul_(scale).view(like.shape)


class Dropout(FairseqDropout):
    """fairseq's dropout module, `--retain-dropout` included."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """x of any shape, with each element zeroed with probability p and the others scaled by 1/(1-p)."""
        if not self.active_p:
            return x
        if x.device.type == "cpu" and self.p < 1 and not is_compiling():
            return MaskedByBits.apply(x, self.p)
        return F.dropout(x, self.p, training=True, inplace=inplace)

    @property
    def active_p(self) -> float:
        """p where dropout is on now, else 0."""
        return self.p if self.training or self.apply_during_inference else 0.0
