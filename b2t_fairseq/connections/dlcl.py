"""DLCL: a layer's input is sum_k W[l,k] h_k over all earlier outputs, W learned; within the layers `pre` or `post`.

Wang et al. 2019, "Learning Deep Transformer Models for Machine Translation". y_0 is the embedding, y_l the output of
layer l, W[l,k] = 1/(l+1) for k <= l at first:

    dlcl_pre     h_0 = y_0, h_l = LN_l(y_l);    z_l = sum_{k<=l} W[l,k] h_k;          output LN(z_L)
    dlcl_post    z_0 = W[0,0] y_0;              z_l = LN_l(sum_{k<=l} W[l,k] y_k);    output z_L

z_l is the input of layer l+1. W is `encoder.layers.connection.weight` and `decoder.layers.connection.weight`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import Connection
from .post import PostLN
from .pre import PreLN
from .registry import register_connection


class HistoryStream(NamedTuple):
    """The output so far (T, B, C), and what the combination reads: one tensor (T, B, C) for each layer so far."""

    x: Tensor
    history: tuple[Tensor, ...]


class Combination(torch.autograd.Function):
    """sum_k weights[k] history[k] of l + 1 tensors of any one shape, in one pass over each; none is copied."""

    @staticmethod
    def forward(ctx, weights: Tensor, *history: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *history)
        total = weights[0] * history[0]
        for w, h in zip(weights[1:], history[1:], strict=True):
            total.addcmul_(h, w)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, ...]:
        weights, *history = ctx.saved_tensors
        flat = gradient.flatten()
        products = torch.stack([torch.dot(flat, h.flatten().to(flat.dtype)) for h in history])
        return products.to(weights.dtype), *(w.to(gradient.dtype) * gradient for w in weights)


class LearnedCombination(Connection):
    """What both forms share: the weights, the norms on the outputs, and the history."""

    needs_all_layers = True  # a dropped layer would shift the rows of W
    can_be_pruned = False
    has_parameters_per_layer = True
    options = {}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        rows = torch.arange(1, config.depth + 2, dtype=torch.float)
        self.weight = nn.Parameter(torch.ones(len(rows), len(rows)).tril() / rows.unsqueeze(1))  # row l: 1/(l+1)
        self.history_norms = nn.ModuleList(config.make_norm() for _ in range(config.depth))

    def combine(self, history: tuple[Tensor, ...]) -> Tensor:
        """sum_{k<=l} W[l,k] history[k], where l = len(history) - 1."""
        return Combination.apply(self.weight[len(history) - 1, : len(history)], *history)

    def open(self, x):
        return HistoryStream(x, history=(x,))

    def sublayer(self, stream, l, j, branch, norms):
        return stream._replace(x=super().sublayer(stream.x, l, j, branch, norms))


@register_connection("dlcl_pre")
class DLCLPre(LearnedCombination, PreLN):
    """dlcl_pre: a layer reads sum_k W[l,k] LN(y_k) of all earlier outputs y_k, W learned; within it x + F(LN(x))."""

    final_norm_is_optional = False

    def enter_layer(self, stream, l):
        return stream._replace(x=self.combine(stream.history))

    def leave_layer(self, stream, l):
        return stream._replace(history=(*stream.history, self.history_norms[l - 1](stream.x)))

    def close(self, stream, final_norm):
        return super().close(self.combine(stream.history), final_norm)


@register_connection("dlcl_post")
class DLCLPost(LearnedCombination, PostLN):
    """dlcl_post: a layer reads LN(sum_k W[l,k] y_k) of all earlier outputs y_k, W learned; within it LN(x + F(x))."""

    def enter_layer(self, stream, l):
        z = self.combine(stream.history)
        return stream._replace(x=z if l == 1 else self.history_norms[l - 2](z))  # LN_{l-1}; z_0 has none

    def leave_layer(self, stream, l):
        return stream._replace(history=(*stream.history, stream.x))

    def close(self, stream, final_norm):
        return self.history_norms[-1](self.combine(stream.history))
