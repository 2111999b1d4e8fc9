"""LayerNorm Scaling: x + F(LN(x) / sqrt(l)), l the layer's number; one unscaled LN after the whole stack.

Sun et al. 2025, "The Curse of Depth in Large Language Models". In cross-attention the query is scaled; keys and values
are the encoder's output as it is (our decision; the paper's models are decoder-only).
"""

from .gpas import Gated
from .registry import register_connection


@register_connection("ln_scaling")
class LayerNormScaling(Gated):
    has_final_norm = True
    can_be_pruned = False  # a layer is scaled by its number

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return self.scaled(x + branch(norm(x) * l**-0.5), l)
