"""Multi-head attention on torch's fused kernel, with stock fairseq's parameter names."""

import math

import torch
from fairseq.incremental_decoding_utils import FairseqIncrementalState
from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.nn import functional as F


def additive_mask(padding: Tensor | None, like: Tensor, causal_length: int = 0) -> Tensor | None:
    """The mask added to the attention scores, built once for all layers of a stack.

    Args:
        padding: (B, S) bool, True where the key is padding; None if nothing is padded.
        like: a tensor whose dtype and device the mask takes.
        causal_length: T > 0 also hides the future, key j > query i; then S = T.

    Returns:
        (B, 1, 1, S) or (B, 1, T, T), 0 where attention is allowed; None if nothing is hidden. The hidden entries are
        very negative, not -inf: a row that is hidden as a whole (a left-padded target) stays finite.
    """
    if padding is None and not causal_length:
        return None
    hidden = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=like.device)
    if padding is not None:
        hidden = hidden | padding[:, None, None, :]
    if causal_length:
        ones = torch.ones(causal_length, causal_length, dtype=torch.bool, device=like.device)
        hidden = hidden | ones.triu(1)
    # half of the smallest number: survives the cast from float32 to bfloat16 under autocast
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill(hidden, torch.finfo(like.dtype).min / 2)


class MultiheadAttention(FairseqIncrementalState, nn.Module):
    """softmax(QK^T / sqrt(d_head)) V over `heads` heads (Vaswani et al. 2017, section 3.2.2).

    Args:
        width: model width C.
        heads: number of heads H; C must be a multiple of it.
        memory_width: width of keys and values before their projection; default C.
        dropout: on the attention probabilities.
        inner_norms: any of "q", "k", "v" (a LayerNorm over d_head on each projected head) and "inner" (a LayerNorm over
            C before out_proj), as the connection asks.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        memory_width: int | None = None,
        dropout: float = 0.0,
        inner_norms: tuple[str, ...] = (),
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"the model width {width} is not a multiple of the {heads} attention heads")
        self.heads, self.head_width = heads, width // heads
        # registered in stock fairseq's order, so that optimizer states, too, fit
        self.k_proj = nn.Linear(memory_width or width, width)
        self.v_proj = nn.Linear(memory_width or width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.dropout_module = FairseqDropout(dropout, module_name="MultiheadAttention")
        for name in inner_norms:
            self.add_module(f"{name}_layer_norm", nn.LayerNorm(width if name == "inner" else self.head_width))
        self.inner_norms = frozenset(inner_norms)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Stock initialisation: xavier with gain 1/sqrt(2) on q, k, v (1 if the widths differ), out_proj's bias 0."""
        same_width = self.k_proj.in_features == self.q_proj.in_features
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2) if same_width else 1)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def split_heads(self, x: Tensor, norm: str) -> Tensor:
        """(T, B, C) -> (B, H, T, d_head), normalised per head if the connection asked for it."""
        x = x.view(x.size(0), x.size(1), self.heads, self.head_width).permute(1, 2, 0, 3)
        return self.get_submodule(f"{norm}_layer_norm")(x) if norm in self.inner_norms else x

    def forward(
        self,
        query: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        padding: Tensor | None = None,
        incremental_state: dict | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `query` to `memory`.

        Args:
            query: (T, B, C).
            memory: (S, B, C_memory) for cross-attention; None for self-attention.
            mask: (B or 1, 1, T or 1, S), added to the scores (`additive_mask`).
            causal: hide the future without a mask (T = S).
            padding: (B, T) bool, in incremental decoding only: which of the new keys are padding.
            incremental_state: the caches of incremental decoding; keys and values in them are projected (and normed).
            need_weights: also return the attention probabilities, by a slower path.

        Returns:
            (T, B, C) and, if asked for, (H, B, T, S).
        """
        q = self.split_heads(self.q_proj(query), "q")
        cache = self.get_incremental_state(incremental_state, "attn_state")
        if memory is not None and cache is not None:
            k, v = cache["prev_key"], cache["prev_value"]
        else:
            source = query if memory is None else memory
            k = self.split_heads(self.k_proj(source), "k")
            v = self.split_heads(self.v_proj(source), "v")
            if incremental_state is not None:
                k, v, padding = self.extend_cache(incremental_state, cache, k, v, padding)
                mask = additive_mask(padding, q) if memory is None else mask
        mask = None if mask is None else mask.to(q.dtype)  # autocast of torch < 2.2 leaves it to us
        if need_weights:
            x, weights = self.attend_with_weights(q, k, v, mask, causal)
        else:
            dropout = self.dropout_module
            p = dropout.p if self.training or dropout.apply_during_inference else 0.0
            x, weights = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=p, is_causal=causal), None
        x = x.permute(2, 0, 1, 3).reshape(query.shape)  # (B, H, T, d_head) -> (T, B, C)
        if "inner" in self.inner_norms:
            x = self.inner_layer_norm(x)
        return self.out_proj(x), weights

    def attend_with_weights(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """The slow path: the same attention, with the probabilities (H, B, T, S) at hand."""
        scores = (q * self.head_width**-0.5) @ k.transpose(-2, -1)
        if causal:
            mask = additive_mask(None, q, causal_length=q.size(2))
        if mask is not None:
            scores = scores + mask
        probabilities = scores.float().softmax(-1)
        return self.dropout_module(probabilities.to(v.dtype)) @ v, probabilities.transpose(0, 1)

    def extend_cache(
        self, incremental_state: dict, cache: dict | None, k: Tensor, v: Tensor, padding: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append new keys and values (B, H, T, d_head) and their padding (B, T) to the cache; return the whole."""
        if cache is not None:
            before = cache.get("prev_key_padding_mask")
            if padding is not None or before is not None:
                nothing = k.new_zeros(k.size(0), 0, dtype=torch.bool)
                before = nothing.new_zeros(k.size(0), cache["prev_key"].size(2)) if before is None else before
                padding = nothing.new_zeros(k.size(0), k.size(2)) if padding is None else padding
                padding = torch.cat([before, padding], 1)
            k = torch.cat([cache["prev_key"], k], 2)
            v = torch.cat([cache["prev_value"], v], 2)
        state = {"prev_key": k, "prev_value": v, "prev_key_padding_mask": padding}
        self.set_incremental_state(incremental_state, "attn_state", state)
        return k, v, padding

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> dict:
        """Follow the beam: row i of every cache becomes row new_order[i]."""
        cache = self.get_incremental_state(incremental_state, "attn_state")
        if cache is not None:
            reordered = {name: x if x is None else x.index_select(0, new_order) for name, x in cache.items()}
            self.set_incremental_state(incremental_state, "attn_state", reordered)
        return incremental_state

    def upgrade_state_dict_named(self, state_dict: dict, name: str) -> None:
        """Split the fused `in_proj_*` of very old fairseq checkpoints into q, k and v."""
        for kind in ("weight", "bias"):
            fused = state_dict.pop(f"{name}.in_proj_{kind}", None)
            if fused is not None:
                for part, tensor in zip("qkv", fused.chunk(3), strict=True):
                    state_dict[f"{name}.{part}_proj.{kind}"] = tensor
