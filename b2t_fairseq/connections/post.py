"""Post-LN: LN(x + F(x)).

Vaswani et al. 2017, "Attention Is All You Need"; equation 1 of the B2T paper.
"""

from .gpas import Gated
from .registry import register_connection


@register_connection("post")
class PostLN(Gated):
    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return norm(self.scaled(x, l) + branch(x))
