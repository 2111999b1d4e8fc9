"""SpanNorm: LN(x + F(x)); in the layer's last sub-layer LN(b + F(x)), b the layer's input.

Wang et al. 2026, "SpanNorm: Reconciling Training Stability and Performance in Deep Transformers", arXiv 2601.22580;
read in a port that cites its equations 5 to 8. It is B2T without x in the layer's last sum. In layer 1, self-attention
reads LN_0(b), and its residual is b itself (option `first_norm`). Our decisions: in a decoder, cross-attention is
LN(x + F(x)); `scaled` is the initialisation, since the paper's own scaling rule is unverified.
"""

from torch import nn

from .b2t import BottomToTop
from .base import Option
from .registry import register_connection


@register_connection("span")
class SpanNorm(BottomToTop):
    default_init = "scaled"
    can_be_pruned = False  # LN_0 belongs to layer 1
    options = {"first_norm": Option(True, "a LayerNorm on what the self-attention of layer 1 reads")}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.first_norm = config.make_norm() if options["first_norm"] else nn.Identity()

    def sublayer(self, stream, l, j, branch, norms):
        (norm,) = norms
        f = branch(self.first_norm(stream.x) if l == 1 and j == 0 else stream.x)
        residual = stream.bottom if self.is_last(j) else stream.x
        return stream._replace(x=norm(residual + f))
