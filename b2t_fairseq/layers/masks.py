"""Masks, built once a forward pass for all layers of a stack."""

import torch
from torch import Tensor


def additive_mask(padding: Tensor | None, like: Tensor, causal_length: int = 0) -> Tensor | None:
    """Return the mask added to the attention scores, 0 or very negative.

    Args:
        padding: (B, S) bool, True where the key is padding; None if nothing is padded.
        like: a tensor whose dtype and device the mask takes.
        causal_length: T > 0 also hides the future, key j > query i; then S = T.

    Returns:
        (B, 1, 1, S) or (B, 1, T, T), 0 where attention is allowed; None if nothing is hidden. The hidden entries are
        very negative, not -inf: a row that is hidden as a whole (a left-padded target) stays finite.
    """
    if padding is None and not causal_length:
        return None
    hidden = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=like.device)
    if padding is not None:
        hidden = hidden | padding[:, None, None, :]
    if causal_length:
        ones = torch.ones(causal_length, causal_length, dtype=torch.bool, device=like.device)
        hidden = hidden | ones.triu(1)
    return as_scores(hidden, like)


def as_scores(hidden: Tensor, like: Tensor) -> Tensor:
    """0 where attention is allowed, very negative where `hidden` (any shape, bool) is True."""
    # half of the smallest number: survives the cast from float32 to bfloat16 under autocast
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill(hidden, torch.finfo(like.dtype).min / 2)
