"""Keel: LN_out(alpha x + F(LN_in(x))), alpha = the number of sub-layers of the stack; in layer 1 x + F(LN_in(x)).

Chen and Wei 2026, "Post-LayerNorm Is Back: Stable, ExpressivE, and Deep", arXiv 2601.19895. There is no official code;
four ports agree on the equation. Our decisions: alpha is counted for each stack, cross-attention included, so 2L in an
encoder or a language model and 3L in a decoder (option `alpha`); a final LN follows the stack (option `final_norm`).
Unverified: whether the authors' models have that final LN.
In half precision alpha x + F is summed in float32 until LN_out: bfloat16 numbers between 256 and 512 are 2 apart.
"""

import math

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from .base import Connection, Option
from .registry import register_connection

try:
    from torch.func import functional_call
except ImportError:  # torch 1.13
    from torch.nn.utils.stateless import functional_call


@register_connection("keel")
class Keel(Connection):
    has_final_norm = True
    can_be_pruned = False  # alpha is that of the depth, and layer 1 is another than the others
    norm_reads_sum = False
    norm_kinds = ("layer", "rms", "un")
    why_not_others = "alpha x, alpha the number of sub-layers, is where tanh and erf have no gradient"
    options = {
        "alpha": Option(0.0, "weight of the residual; 0: the number of sub-layers of the stack"),
        "final_norm": Option(True, "a LayerNorm after the whole stack"),
    }

    def __init__(self, config, **options):
        super().__init__(config, **options)
        if not 0 <= options["alpha"] < math.inf:
            raise UserError(f"--connection-options: alpha={options['alpha']} must be a number from 0 on; 0 means auto")
        self.alpha = options["alpha"] or float(config.depth * len(config.kinds))
        self.has_final_norm = options["final_norm"]

    def norms(self, l, kind):
        return ("layer_norm",) if l == 1 else ("layer_norm", "out_layer_norm")

    def sublayer(self, x, l, j, branch, norms):
        f = branch(norms[0](x))
        if l == 1:
            return x + f
        if x.dtype in (torch.bfloat16, torch.float16):
            return in_float32(norms[1], self.alpha * x.float() + f).to(x.dtype)
        return norms[1](self.alpha * x + f)

    def extra_repr(self):
        return f"{super().extra_repr()}, alpha={self.alpha:g}"


def in_float32(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm whose parameters are in half precision to float32."""
    return functional_call(norm, {name: p.float() for name, p in norm.named_parameters()}, (x,))
