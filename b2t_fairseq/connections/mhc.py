"""mHC: n streams H; H <- H_res H + H_post F(LN(H_pre H)), H_res doubly stochastic; final LN of the streams' sum.

Xie et al. 2025, "mHC: Manifold-Constrained Hyper-Connections" (arXiv 2512.24880). For each token, vec(H) of width nC:

    [p | q | r] = B + s * norm(vec(H)) W         one factor s for each of the three
    H_pre = sigmoid(p) (1, n),  H_post = 2 sigmoid(q) (n, 1),  H_res (n, n) from r: its rows and columns sum to 1

H_res is a sum of the n! permutation matrices with weights softmax(r): exact, without iterations (mHC-lite, arXiv
2601.05732). With `sinkhorn=true`, as in the mHC paper, r is n x n, and the columns, then the rows of exp(r) are divided
by their sums, 20 times; far from the mean the columns' sums then still miss 1. Either way in float32 at least.

At first W = 0, s = 0.01, and B, where ports differ and the paper's values are unverified, is our decision: in p 1 for
stream k mod n and -1 for the others (were all alike, the streams would stay equal for ever); in q 0, so H_post = 1; in
r 0 for the identity and -8 for the rest, so H_res is almost I. A new model then computes what `pre` does. Also ours:
norm is of the stack's kind, the paper's is RMSNorm. Sum of the streams, weight decay and memory: as in `hyper`.
"""

from itertools import permutations

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from .base import Option
from .config import StackConfig
from .hyper import HyperConnections, mixed
from .registry import register_connection


def sinkhorn(logits: Tensor, iterations: int = 20) -> Tensor:
    """Return exp(logits) (..., n, n) with columns, then rows divided by their sums, again and again.

    In logarithms: far apart, exp would leave a row or column of zeros, which cannot be divided by its sum.
    """
    for _ in range(iterations):
        logits = logits - logits.logsumexp(-2, keepdim=True)
        logits = logits - logits.logsumexp(-1, keepdim=True)
    return logits.exp()


class ManifoldMixing(nn.Module):
    """One sub-layer's H_pre, H_res and H_post, for each token."""

    def __init__(self, config: StackConfig, streams: int, k: int, iterate: bool):
        super().__init__()
        identity = torch.eye(streams)
        if iterate:
            identical = identity.flatten()
            self.matrices = None
        else:
            matrices = torch.stack([identity[list(order)] for order in permutations(range(streams))])
            identical = torch.eye(len(matrices))[0]  # the first order is the identity
            self.register_buffer("matrices", matrices.flatten(1), persistent=False)
        self.streams, self.sizes = streams, (streams, streams, len(identical))
        self.norm = config.make_norm(streams * config.width)
        self.weight = nn.Parameter(torch.zeros(streams * config.width, sum(self.sizes)))
        self.bias = nn.Parameter(torch.cat([2 * identity[k % streams] - 1, torch.zeros(streams), 8 * identical - 8]))
        self.scale = nn.Parameter(torch.full((3,), 0.01))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return H_pre (T, B, 1, n), H_res (T, B, n, n) and H_post (T, B, n, 1)."""
        dynamic = (self.norm(h.flatten(-2)) @ self.weight).split(self.sizes, -1)
        static = self.bias.split(self.sizes)
        pre, post, res = (s * d + b for s, d, b in zip(self.scale, dynamic, static, strict=True))
        return pre.sigmoid().unsqueeze(-2), self.doubly_stochastic(res), 2 * post.sigmoid().unsqueeze(-1)

    def doubly_stochastic(self, r: Tensor) -> Tensor:
        """Return matrices (..., n, n) whose rows and columns sum to 1."""
        r = r.to(torch.promote_types(r.dtype, torch.float32))
        if self.matrices is None:
            return sinkhorn(r.unflatten(-1, (self.streams, self.streams)))
        flat = mixed(r.softmax(-1).unsqueeze(-2), self.matrices.to(r.dtype))
        return flat.unflatten(-1, (self.streams, self.streams)).squeeze(-3)


@register_connection("mhc")
class ManifoldConstrained(HyperConnections):
    options = {
        **HyperConnections.options,
        "sinkhorn": Option(False, "H_res by Sinkhorn's iterations instead of permutation matrices"),
    }

    def __init__(self, config, **options):
        if options["streams"] > 4 and not options["sinkhorn"]:
            n = options["streams"]
            raise UserError(f"--connection-options: streams={n} has {n}! permutations: use at most 4, or sinkhorn=true")
        super().__init__(config, **options)

    def make_mixing(self, k):
        return ManifoldMixing(self.config, self.settings["streams"], k, iterate=self.settings["sinkhorn"])
