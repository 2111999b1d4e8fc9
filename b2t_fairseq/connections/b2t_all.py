"""B2T around all LNs: as B2T, but the last sub-layer's LN is skipped too: b + LN(x + F(x)), b the layer's input.

The ablation of the B2T paper's footnote 1, which the authors found to harm the performance. It has no published code.
"""

from .b2t import BottomToTop
from .registry import register_connection


@register_connection("b2t_all")
class BottomToTopAll(BottomToTop):
    options = {}

    def sublayer(self, stream, l, j, branch, norms):
        (norm,) = norms
        x = norm(stream.x + branch(stream.x))
        return stream._replace(x=stream.bottom + x if self.is_last(j) else x)
