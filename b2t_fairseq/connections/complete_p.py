"""CompleteP: x + m^-a F(LN(x)), m = L / base_layers, and one LN after the whole stack; a = 1, or 1/2 for depth-muP.

Dey et al. 2025, "Don't be lazy: CompleteP enables compute-efficient deep transformers", arXiv 2505.01618. What is tuned
at `base_layers` is to hold at any depth. Our decision: m is counted for each stack by its own depth. The recipe also
multiplies Adam's eps by m^-a. The printed model shows that factor; you apply it, since `--adam-eps` is one number for
both stacks. Unverified: for a = 1/2 it also multiplies the learning rate of the layers by m^(a-1).
"""

import math

from ..common.errors import UserError
from .base import Option
from .pre import PreLN
from .registry import register_connection


@register_connection("complete_p")
class CompleteP(PreLN):
    final_norm_is_optional = False
    can_be_pruned = False  # m is that of the depth
    options = {
        "alpha": Option(1.0, "the branch is multiplied by m^-alpha; 0.5: depth-muP"),
        "base_layers": Option(6, "the depth whose settings are transferred: m = 1 there, which is Pre-LN"),
    }

    def __init__(self, config, **options):
        super().__init__(config, **options)
        alpha, base = options["alpha"], options["base_layers"]
        if not 0 <= alpha < math.inf:
            raise UserError(f"--connection-options: alpha={alpha} must be a number from 0 on, such as 1 or 0.5")
        if base < 1:
            raise UserError(f"--connection-options: base_layers={base} must be at least 1, a number of layers")
        self.factor = (config.depth / base) ** -alpha

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return x + self.factor * branch(norm(x))

    def extra_repr(self):
        return f"{super().extra_repr()}, factor={self.factor:.4f} (of --adam-eps, too)"
