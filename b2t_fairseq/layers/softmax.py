"""The softmax of attention with its mask and dropout, in one pass over the scores on a CPU in bfloat16."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import native
from .dropout import drawn


class MaskedSoftmax(torch.autograd.Function):
    """softmax(scale * scores + mask), then dropout: computed in float32 and rounded to the scores' dtype once.

    Of what torch keeps for the backward pass, float32 probabilities, here only the scores remain and two numbers a row.

    Args of `apply`:
        scores: (B, H, T, S), bfloat16.
        mask: (B or 1, 1, T or 1, S) float32; None: 0.
        scale: what the scores are multiplied by.
        p: of the dropout, below 1; its mask is the one that `Dropout` would draw.
    """

    @staticmethod
    def forward(ctx, scores: Tensor, mask: Tensor | None, scale: float, p: float) -> Tensor:
        kept, scores = drawn(scores.numel(), p) if p else None, scores.contiguous()
        probabilities, norms = native.masked_softmax(scores, scale, mask, kept)
        ctx.save_for_backward(scores, mask, norms, None if kept is None else kept.bits)
        ctx.scale, ctx.rest = scale, None if kept is None else kept[1:]
        return probabilities

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        scores, mask, norms, bits = ctx.saved_tensors
        kept = None if bits is None else native.Kept(bits, *ctx.rest)
        gradient = gradient.contiguous()
        return native.masked_softmax_backward(gradient, scores, ctx.scale, mask, kept, norms), None, None, None
