"""Multi-head attention on torch's kernels, in decoding on our own, with stock fairseq's parameter names."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import native
from ..common.errors import UserError
from ..norms import make_norm
from .cache import DecodingCache
from .dropout import Dropout
from .linear import Linear, joint_product, shares_input
from .masks import additive_mask
from .softmax import MaskedSoftmax

LONGEST_PLAIN = 128  # keys; up to there plain products are faster on a CPU than torch's fused kernel, and need little


class MultiheadAttention(nn.Module):
    """softmax(QK^T / sqrt(d_head)) V over `heads` heads (Vaswani et al. 2017, section 3.2.2).

    Args:
        width: model width C.
        heads: number of heads H; C must be a multiple of it.
        memory_width: width of keys and values before their projection; default C.
        dropout: on the attention probabilities.
        inner_norms: any of "q", "k", "v" (a norm over d_head on each projected head) and "inner" (a norm over C before
            out_proj), as the connection asks.
        norm: their kind (`--norm`).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        memory_width: int | None = None,
        dropout: float = 0.0,
        inner_norms: tuple[str, ...] = (),
        norm: str = "layer",
    ):
        super().__init__()
        if width % heads:
            raise UserError(
                f"the model width {width} is not a multiple of the {heads} attention heads: choose another width "
                "(--…-embed-dim) or number of heads (--…-attention-heads)"
            )
        self.heads, self.head_width = heads, width // heads
        # registered in stock fairseq's order, so that optimizer states, too, fit
        self.k_proj = Linear(memory_width or width, width)
        self.v_proj = Linear(memory_width or width, width)
        self.q_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.dropout_module = Dropout(dropout, module_name="MultiheadAttention")
        for name in inner_norms:
            self.add_module(f"{name}_layer_norm", make_norm(norm, width if name == "inner" else self.head_width))
        self.inner_norms = frozenset(inner_norms)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Stock initialisation: xavier with gain 1/sqrt(2) on q, k, v (1 if the widths differ), out_proj's bias 0."""
        same_width = self.k_proj.in_features == self.q_proj.in_features
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2) if same_width else 1)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def projected(self, x: Tensor, names: str) -> list[Tensor]:
        """Return queries, keys or values ("q", "k", "v"): (T, B, C) -> (B, H, T, d_head) each.

        Those that the connection asked for are normalised.
        """
        modules: list[Linear] = [getattr(self, f"{name}_proj") for name in names]
        shape = (*x.shape[:2], self.heads, -1)
        if shares_input(x, modules):
            heads = joint_product(x, modules, self.heads)
        else:
            heads = [module(x).view(shape) for module in modules]
        return [self.normed(each.permute(1, 2, 0, 3), name) for each, name in zip(heads, names, strict=True)]

    def normed(self, x: Tensor, norm: str) -> Tensor:
        """(B, H, T, d_head), normalised per head if the connection asked for it."""
        return self.get_submodule(f"{norm}_layer_norm")(x) if norm in self.inner_norms else x

    def forward(
        self,
        query: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: DecodingCache | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `query` to `memory`.

        Args:
            query: (T, B, C).
            memory: (S, B, C_memory) for cross-attention; None for self-attention.
            mask: (B or 1, 1, T or 1, S), added to the scores (`additive_mask`).
            causal: hide the future without a mask (T = S).
            cache: in incremental decoding, where T = 1: what earlier steps left. It has the masks then.
            need_weights: also return the attention probabilities.

        Returns:
            (T, B, C) and, if asked for, (H, B, T, S).
        """
        if cache is not None:
            x, weights = self.step(query, memory, cache, need_weights)
        else:
            if memory is None:
                q, k, v = self.projected(query, "qkv")
            else:
                (q,), (k, v) = self.projected(query, "q"), self.projected(memory, "kv")
            is_short = k.size(2) <= LONGEST_PLAIN and k.device.type == "cpu"
            if is_short and not need_weights and self.has_softmax(q):
                attend = self.attend_in_bfloat16
            else:
                attend = self.attend_plainly if need_weights or is_short else self.attend
            x, weights = attend(q, k, v, mask, causal)
            x = x.permute(2, 0, 1, 3).reshape(query.shape)  # (B, H, T, d_head) -> (T, B, C)
        if "inner" in self.inner_norms:
            x = self.get_submodule("inner_layer_norm")(x)
        project = self.out_proj if cache is None else cache.linear(self.out_proj)
        return project(x), weights if need_weights else None

    def step(
        self, query: Tensor, memory: Tensor | None, cache: DecodingCache, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """One step of incremental decoding: (1, R, C) -> (1, R, C), before out_proj, and probabilities (H, R, 1, S)."""
        projections = (self.q_proj,) if memory is not None else (self.q_proj, self.k_proj, self.v_proj)
        qkv = cache.linear(*projections)(query)
        is_compiled = self.has_kernel(qkv) and not need_weights
        if memory is not None:
            k, v = cache.source(self, lambda: self.projected(memory, "kv"))
            if is_compiled and k.dtype == qkv.dtype:  # not under autocast, which packed products do not know
                return native.attend_to_source(qkv, k.mT, v, cache.memory_padding), None
            (q,) = cache.grouped(qkv, self.heads)
            q = self.normed(q, "q")
            mask = cache.memory_mask(q)
        elif is_compiled and cache.hidden is None:
            k, v = cache.room(self, self.heads, self.head_width, qkv)
            new = cache.used - cache.beam
            return native.attend_to_ancestors(qkv, k, v, new, cache.length, cache.ancestors_by_slot), None
        else:
            q, k, v = cache.grouped(qkv, self.heads, parts=3)
            q, k, v = self.normed(q, "q"), self.normed(k, "k"), self.normed(v, "v")
            k, v = cache.extend(self, k, v)
            mask = cache.mask(q)
        is_plain = cache.is_large and memory is not None and q.device.type == "cpu"
        attend = self.attend_plainly if need_weights or is_plain else self.attend
        x, weights = attend(q, k, v, mask, causal=False)
        return cache.ungrouped(x), cache.ungrouped_weights(weights) if need_weights and weights is not None else None

    def has_kernel(self, x: Tensor) -> bool:
        """Whether `native` knows a step of this attention on x."""
        is_ordinary = self.inner_norms <= {"inner"} and not self.dropout_module.active_p
        return is_ordinary and self.head_width in native.HEAD_WIDTHS and native.suits(x, *native.DTYPES)

    def has_softmax(self, q: Tensor) -> bool:
        """Whether `native` knows the softmax of these queries' scores; float32's stays torch's, to the last bit."""
        return self.dropout_module.draws_bits(q) and native.suits(q, torch.bfloat16)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, None]:
        """Attention by torch's fused kernel: (B, H, T, d_head), and no probabilities."""
        p = self.dropout_module.active_p
        mask = None if mask is None else mask.to(q.dtype)  # autocast of torch < 2.2 leaves it to us
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=p, is_causal=causal), None

    def attend_in_bfloat16(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, None]:
        """Attend by products and one pass over the scores between them: (B, H, T, d_head), and no probabilities."""
        scores = q @ k.mT
        if causal:
            mask = additive_mask(None, scores, causal_length=q.size(2))
        mask = None if mask is None else mask.float()
        p = self.dropout_module.active_p
        return MaskedSoftmax.apply(scores, mask, self.head_width**-0.5, p) @ v, None

    def attend_plainly(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Attend by products and softmax, whose probabilities (H, B, T, S) can be returned."""
        scores = (q * self.head_width**-0.5) @ k.mT
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))  # on a CPU faster than sums in bf16, too
        if causal:
            mask = additive_mask(None, scores, causal_length=q.size(2))
        if mask is not None:
            scores += mask.to(scores.dtype)
        probabilities = scores.softmax(-1)
        return self.dropout_module(probabilities.to(v.dtype)) @ v, probabilities.transpose(0, 1)

    def upgrade_state_dict_named(self, state_dict: dict, name: str) -> None:
        """Split the fused `in_proj_*` of very old fairseq checkpoints into q, k and v."""
        for kind in ("weight", "bias"):
            fused = state_dict.pop(f"{name}.in_proj_{kind}", None)
            if fused is not None:
                for part, tensor in zip("qkv", fused.chunk(3), strict=True):
                    state_dict[f"{name}.{part}_proj.{kind}"] = tensor
