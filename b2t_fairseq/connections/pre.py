"""Pre-LN: x + F(LN(x)), and one LN after the whole stack (which Baevski and Auli's language model leaves out).

Baevski and Auli 2019, Xiong et al. 2020; equation 2 of the B2T paper.
"""

from .gpas import Gated
from .registry import register_connection


@register_connection("pre")
class PreLN(Gated):
    has_final_norm = True
    final_norm_is_optional = True

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return self.scaled(x + branch(norm(x)), l)
