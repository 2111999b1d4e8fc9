"""B2T, the Bottom-to-Top connection: LN(x + F(x)); in the layer's last sub-layer LN(b + x + F(x)), b the layer's input.

Takase et al. 2022, "B2T Connection: Serving Stability and Performance in Deep Transformers", equation 5: b skips every
LN of the layer except the final one, so its gradient passes only one LN a layer.
"""

from typing import NamedTuple

from torch import Tensor

from .gpas import Gated
from .registry import register_connection


class BottomStream(NamedTuple):
    """Inside a layer: the output so far and the layer's input, both (T, B, C)."""

    x: Tensor
    bottom: Tensor


@register_connection("b2t")
class BottomToTop(Gated):
    def enter_layer(self, x, l):
        return BottomStream(x, bottom=x)

    def sublayer(self, stream, l, j, branch, norms):
        (norm,) = norms
        x = self.scaled(stream.x, l) + branch(stream.x)
        if self.is_last(j):
            x += stream.bottom  # in place: the sum is new, nothing else reads it, and a copy costs memory
        return stream._replace(x=norm(x))

    def leave_layer(self, stream, l):
        return stream.x
