"""B2T without LN: x + F(x); in the last sub-layer alpha b + beta (x + F(x)), b the layer's input.

alpha = min(L/12, L^-0.15), beta = d^-0.2, with the depth L and the width d of the stack. Takase et al. 2022
(Tables 9 and 10).
"""

from .b2t import BottomToTop
from .base import Option
from .registry import register_connection


@register_connection("b2t_no_ln")
class BottomToTopNoLN(BottomToTop):
    options = {"final_norm": Option(False, "a LayerNorm after the whole stack")}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.alpha = min(config.depth / 12, config.depth**-0.15)
        self.beta = config.width**-0.2
        self.has_final_norm = options["final_norm"]

    def norms(self, l, kind):
        return ()

    def sublayer(self, stream, l, j, branch, norms):
        x = stream.x + branch(stream.x)
        return stream._replace(x=self.alpha * stream.bottom + self.beta * x if self.is_last(j) else x)
