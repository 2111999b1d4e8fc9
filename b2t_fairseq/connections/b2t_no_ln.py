"""B2T without LN: x + F(x); in the last sub-layer alpha b + beta (x + F(x)), b the layer's input.

alpha = min(L/12, L^-0.15), beta = d^-0.2, with the depth L and the width d of the stack. Takase et al. 2022
(Tables 9 and 10). beta is made for d = 512. In a narrow, deep stack alpha + beta > 1, so the sum grows from layer to
layer and explodes: the log then says so, and the option `beta_width` takes another width's beta (our decision).
"""

import logging

from ..common.errors import UserError
from .b2t import BottomToTop
from .base import Option
from .registry import register_connection

logger = logging.getLogger(__name__)


@register_connection("b2t_no_ln")
class BottomToTopNoLN(BottomToTop):
    options = {
        "final_norm": Option(False, "a LayerNorm after the whole stack"),
        "beta_width": Option(0, "the width whose beta is used; 0: the model's own"),
    }

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.alpha = min(config.depth / 12, config.depth**-0.15)
        if options["beta_width"] < 0:
            raise UserError(f"--connection-options: beta_width={options['beta_width']} must be a width, or 0")
        self.beta = (options["beta_width"] or config.width) ** -0.2
        self.has_final_norm = options["final_norm"]

    def warn(self):
        if self.alpha + self.beta > 1:
            logger.warning(
                f"b2t_no_ln: alpha + beta = {self.alpha + self.beta:.2f} > 1 in the {self.config.side} of "
                f"{self.config.depth} layers, width {self.config.width}: activations grow with depth; beta is made for "
                "width 512: --connection-options beta_width=512"
            )

    def norms(self, l, kind):
        return ()

    def sublayer(self, stream, l, j, branch, norms):
        x = stream.x + branch(stream.x)
        return stream._replace(x=self.alpha * stream.bottom + self.beta * x if self.is_last(j) else x)
