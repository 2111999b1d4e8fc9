"""Hyper-Connections: n streams H; H <- A H + beta F(LN(a H)), a, A and beta read off H; final LN of the streams' sum.

Zhu et al. 2025, "Hyper-Connections" (arXiv 2409.19606), the dynamic form. For each token, h_s one of the n streams:

    [alpha | beta] = B + s * tanh(norm(H) W)     (n, 1 + n) and (n, 1), with one factor s for either
    input          = sum_s alpha[s,0] h_s
    h_t           <- sum_s alpha[s,t] h_s + beta_t F(LN(input))

At first H is n copies of the embedding, W = 0, s = 0.01 and B = [e_(k mod n) | I | 1], k = 0, 1, ... the number of the
sub-layer in its stack. The output of the stack, and of a layer as others see it, is the sum of the streams, not their
mean: at first n times what `pre` has there. The final LN takes n back, so a new model computes what `pre` does.

The paper exempts B and s from weight decay. fairseq's Adam cannot: use none (the default), or they decay, too. Our
decision: norm is of the stack's kind, with a gain and bias for each sub-layer. Per sub-layer, training keeps about 2n
tensors (T, B, C) more than `pre`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from .base import Connection, Option
from .config import StackConfig
from .registry import register_connection


class Streams(NamedTuple):
    """n streams side by side, (T, B, n, C)."""

    h: Tensor


def mixed(weights: Tensor, h: Tensor) -> Tensor:
    """Return `weights @ h`, (..., m, n) and (..., n, C) -> (..., m, C); autocast does not round the stream."""
    with torch.autocast("cpu" if h.is_meta else h.device.type, enabled=False):  # the meta device knows no autocast
        return weights.to(h.dtype) @ h


class HyperMixing(nn.Module):
    """One sub-layer's a, A and beta, for each token."""

    def __init__(self, config: StackConfig, streams: int, k: int):
        super().__init__()
        self.sizes = (1 + streams, 1)
        self.norm = config.make_norm()
        self.weight = nn.Parameter(torch.zeros(config.width, sum(self.sizes)))
        identity = torch.eye(streams)
        self.bias = nn.Parameter(torch.cat([identity[:, [k % streams]], identity, torch.ones(streams, 1)], 1))
        self.scale = nn.Parameter(torch.full((2,), 0.01))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights of the sub-layer's input (T, B, 1, n), of the streams (T, B, n, n), of F (T, B, n, 1)."""
        dynamic = (self.norm(h) @ self.weight).tanh().split(self.sizes, -1)
        static = self.bias.split(self.sizes, -1)
        alpha, beta = (b + s * d for b, s, d in zip(static, self.scale, dynamic, strict=True))
        alpha = alpha.transpose(-1, -2)
        return alpha[..., :1, :], alpha[..., 1:, :], beta


@register_connection("hyper")
class HyperConnections(Connection):
    has_final_norm = True
    can_be_pruned = False  # a sub-layer's mixing belongs to its place
    has_parameters_per_layer = True
    norm_reads_sum = False
    options = {"streams": Option(4, "number of streams n")}
    streams: int

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.streams = options["streams"]
        if self.streams < 1:
            raise UserError(f"--connection-options: streams={self.streams} must be at least 1")
        self.mixing = nn.ModuleList(self.make_mixing(k) for k in range(config.depth * len(config.kinds)))

    def make_mixing(self, k: int) -> nn.Module:
        """Return what mixes the streams at sub-layer k = 0, 1, ... of the stack."""
        return HyperMixing(self.config, self.streams, k)

    def open(self, x):
        return Streams(x.unsqueeze(-2).expand(-1, -1, self.streams, -1).contiguous())

    def sublayer(self, stream, l, j, branch, norms):
        (norm,) = norms
        h = stream.h
        read, keep, write = self.mixing[(l - 1) * len(self.config.kinds) + j](h)
        f = branch(norm(mixed(read, h).squeeze(-2)))
        return Streams(mixed(keep, h).addcmul_(write.to(h.dtype), f.to(h.dtype).unsqueeze(-2)))  # in place: it is new

    def close(self, stream, final_norm):
        return super().close(stream.h.sum(-2), final_norm)

    def output(self, stream):
        return stream.h.sum(-2)
