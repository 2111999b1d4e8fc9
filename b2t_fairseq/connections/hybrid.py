"""HybridNorm: attention x + F(x) with q, k and v normed per head inside F; feed-forward n + FF(n), n = LN(x); final LN.

Zhuo et al. 2025, "HybridNorm: Towards Stable and Efficient Transformer Training via Hybrid Normalization".
`hybrid_star` (HybridNorm*): in layer 1, LN(x) enters self-attention and the feed-forward sub-layer is x + FF(LN(x)).
The authors' models are decoder-only and use RMSNorm and Megatron's initialisation, which is `scaled`. Here, as
everywhere in fairseq, the norms are LayerNorms, those of q, k and v over d_head; cross-attention is treated like
self-attention, with k and v from the encoder (our decisions).
"""

from .base import Connection
from .registry import register_connection


@register_connection("hybrid")
class HybridNorm(Connection):
    default_init = "scaled"
    has_final_norm = True

    def norms(self, l, kind):
        return ("layer_norm",) if kind == "FF" else ()

    def inner_norms(self, l, kind):
        return () if kind == "FF" else ("q", "k", "v")

    def sublayer(self, x, l, j, branch, norms):
        for norm in norms:  # the feed-forward sub-layer's
            x = norm(x)
        return x + branch(x)


@register_connection("hybrid_star")
class HybridNormStar(HybridNorm):
    """HybridNorm*: as HybridNorm, but self-attention and feed-forward of layer 1 are x + F(LN(x))."""

    can_be_pruned = False  # layer 1 is another than the others

    def norms(self, l, kind):
        return ("layer_norm",) if l == 1 and kind == "SA" else super().norms(l, kind)

    def sublayer(self, x, l, j, branch, norms):
        if l > 1 or not norms:
            return super().sublayer(x, l, j, branch, norms)
        (norm,) = norms
        return x + branch(norm(x))
