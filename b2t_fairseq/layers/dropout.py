"""Dropout that draws its mask quickly on a CPU."""

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor
from torch.nn import functional as F

from .. import native
from .recompute import autocast_settings

is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)  # torch < 2.3 does not tell
STEPS = 2**16  # a 16-bit random number decides about each element


class MaskedByBits(torch.autograd.Function):
    """x times a mask of 0 and 1/(1-p), where p is the nearest multiple of 2^-16; the result has the given dtype.

    torch draws a CPU's dropout masks one number at a time, 9 ns each, 5 to 15 % of a training step. Here one
    64-bit number of the same generator serves four elements. The compiled kernel and torch's operations give the same.
    """

    @staticmethod
    def forward(ctx, x: Tensor, p: float, dtype: torch.dtype) -> Tensor:
        kept = drawn(x.numel(), p)
        ctx.rest, ctx.dtype = kept[1:], x.dtype
        ctx.is_compiled = native.suits(x, *native.DTYPES) and dtype in native.DTYPES
        if ctx.is_compiled:
            ctx.save_for_backward(kept.bits)
            return native.dropout(x.contiguous(), kept, dtype)
        mask = mask_of(kept, x)
        ctx.save_for_backward(mask)
        return (x * mask).to(dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (saved,) = ctx.saved_tensors
        if ctx.is_compiled:
            kept = native.Kept(saved, *ctx.rest)
            if not torch.is_grad_enabled():
                return native.dropout(gradient.contiguous(), kept, ctx.dtype), None, None
            saved = mask_of(kept, gradient)
        return (gradient * saved).to(ctx.dtype), None, None  # which has gradients of its own


def drawn(count: int, p: float) -> native.Kept:
    """Return a new mask for `count` numbers, each of which is dropped with probability p < 1."""
    dropped = min(round(p * STEPS), STEPS - 1)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return native.Kept(bits, dropped - STEPS // 2, STEPS / (STEPS - dropped))


def mask_of(kept: native.Kept, like: Tensor) -> Tensor:
    """Return the mask in like's shape, in float32 or what is wider: in half precision 1/(1-p) would be another p's."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return (kept.bits[: like.numel()] >= kept.threshold).to(dtype).mul_(kept.scale).view(like.shape)


class Dropout(FairseqDropout):
    """fairseq's dropout module, `--retain-dropout` included.

    Args:
        widens: on a CPU the result is in float32 under autocast, which all that is added to it is, too.
    """

    def __init__(self, p: float, module_name: str | None = None, widens: bool = False):
        super().__init__(p, module_name)
        self.widens = widens

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """x of any shape, with each element zeroed with probability p and the others scaled by 1/(1-p)."""
        if not self.active_p:
            return x
        if self.draws_bits(x):
            widens = self.widens and autocast_settings("cpu")["enabled"]
            return MaskedByBits.apply(x, self.p, torch.float32 if widens else x.dtype)
        return F.dropout(x, self.p, training=True, inplace=inplace)

    def draws_bits(self, x: Tensor) -> bool:
        """Whether x's mask is made of `drawn` numbers, if it needs one."""
        return x.device.type == "cpu" and self.p < 1 and not is_compiling()

    @property
    def active_p(self) -> float:
        """p where dropout is on now, else 0."""
        return self.p if self.training or self.apply_during_inference else 0.0
