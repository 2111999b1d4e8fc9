"""Peri-LN: x + LN_out(F(LN_in(x))), and one LN after the whole stack.

Kim et al. 2025, "Peri-LN: Revisiting Normalization Layer in the Transformer Architecture". Dropout follows LN_out, so
that its zeros survive the norm (our decision). The option `embedding_norm` adds the paper's LN on the embedding.
"""

from torch import nn

from .base import Option
from .gpas import Gated
from .registry import register_connection


@register_connection("peri")
class PeriLN(Gated):
    has_final_norm = True
    options = Gated.options | {"embedding_norm": Option(False, "a LayerNorm on the embedding")}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.embedding_norm = config.make_norm() if options["embedding_norm"] else nn.Identity()

    def norms(self, l, kind):
        return ("layer_norm", "out_layer_norm")

    def open(self, x):
        return self.embedding_norm(x)

    def sublayer(self, x, l, j, branch, norms):
        norm_in, norm_out = norms
        return self.scaled(x + branch.dropout(norm_out(branch.raw(norm_in(x)))), l)
