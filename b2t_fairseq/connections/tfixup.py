"""T-Fixup: x + F(x), without any LN; its initialisation keeps the updates bounded, so that it needs no warm-up.

Huang et al. 2020, "Improving Transformer Optimization Through Better Initialization".
"""

from .base import Connection
from .registry import register_connection


@register_connection("tfixup")
class TFixup(Connection):
    default_init = "tfixup"

    def norms(self, l, kind):
        return ()

    def sublayer(self, x, l, j, branch, norms):
        return x + branch(x)
