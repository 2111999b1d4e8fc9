"""Sub-LN: x + F(LN(x)) with a second LN inside F, before out_proj of self-attention and before fc2; a final LN.

Wang et al. 2022, "Foundation Transformers" (Magneto). Cross-attention has no inner LN.
"""

from .pre import PreLN
from .registry import register_connection


@register_connection("sub_ln")
class SubLN(PreLN):
    default_init = "sub_ln"
    final_norm_is_optional = False
    options = {}

    def inner_norms(self, l, kind):
        return () if kind == "CA" else ("inner",)
