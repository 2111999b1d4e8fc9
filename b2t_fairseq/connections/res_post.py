"""Res-Post-LN: x + LN(F(x)), and one LN after the whole stack.

Liu et al. 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution", arXiv 2111.09883 (res-post-norm). Dropout
follows the LN, so that its zeros survive the norm, as in `peri`, and one LN follows the stack (our decisions). Swin V2
starts the gains at 0; here they start at 1, like every norm.
"""

from .base import Connection
from .registry import register_connection


@register_connection("res_post")
class ResPostLN(Connection):
    has_final_norm = True
    norm_reads_sum = False

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return x + branch.dropout(norm(branch.raw(x)))
