"""SiameseNorm: x <- LN_post(x); f = F(LN_in(x + LN_pre(y))); x <- x + f / sqrt(2l), y <- y + f; output LN(x) + LN(y).

Li et al. 2026, "SiameseNorm: Breaking the Barrier to Reconciling Pre/Post-Norm", arXiv 2602.08064. A Post-LN stream x
and a Pre-LN stream y read each other and share every branch. Both start as the embedding; the output is
LN_final(LN_a(x) + LN_b(y)). The last x is not normed yet: hence LN_a. Our decisions: the authors' DeiT form for all
sub-layers (their OLMo form differs in attention); l counts the layers of each stack, and 2l stays 2l where a layer has
cross-attention.
"""

from typing import NamedTuple

from torch import Tensor, nn

from .base import Connection
from .registry import register_connection


class SiameseStream(NamedTuple):
    """The Post-LN stream, normed when it is read, and the Pre-LN stream, both (T, B, C)."""

    x: Tensor
    y: Tensor


@register_connection("siamese")
class SiameseNorm(Connection):
    has_final_norm = True
    can_be_pruned = False  # a branch is scaled by its layer's number
    norm_reads_sum = False

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.norm_a = config.make_norm()
        self.norm_b = config.make_norm()

    def norms(self, l, kind):
        return ("layer_norm", "pre_layer_norm", "post_layer_norm")

    def open(self, x):
        return SiameseStream(x, y=x)

    def sublayer(self, stream, l, j, branch, norms):
        norm_in, norm_pre, norm_post = norms
        x = norm_post(stream.x)
        f = branch(norm_in(x + norm_pre(stream.y)))
        return SiameseStream(x + f * (2 * l) ** -0.5, stream.y + f)

    def close(self, stream, final_norm: nn.Module):
        return final_norm(self.norm_a(stream.x) + self.norm_b(stream.y))
