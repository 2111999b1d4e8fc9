"""ResiDual: x <- LN(x + f), r <- r + f with the same f = F(x); the output is x + LN(r), that LN with eps 1e-7.

Xie et al. 2023, "ResiDual: Transformer with Dual Residual Connections": a Post-LN stream and a Pre-LN stream r beside
it that no LN touches before the end.
"""

from typing import NamedTuple

from torch import Tensor, nn

from .base import Connection
from .registry import register_connection


class DualStream(NamedTuple):
    """The Post-LN stream and the sum of the embedding and all branches, both (T, B, C)."""

    x: Tensor
    r: Tensor


@register_connection("resi_dual")
class ResiDual(Connection):
    has_final_norm = True
    final_norm_eps = 1e-7
    norm_kinds = ("layer", "rms")
    why_not_others = "r, a sum of all branches, grows from layer to layer, and only a norm of each position bounds it"

    def open(self, x):
        return DualStream(x, r=x)

    def sublayer(self, stream, l, j, branch, norms):
        (norm,) = norms
        f = branch(stream.x)
        return DualStream(norm(stream.x + f), stream.r + f)

    def close(self, stream, final_norm: nn.Module):
        return stream.x + final_norm(stream.r)
