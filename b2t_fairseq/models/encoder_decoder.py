"""Encoder and decoder of a translation model around our stacks.

Embeddings, positions, projections and the output layer are fairseq's base classes'; the layers, and the loop over them,
are the stack's.
"""

import copy
from collections.abc import Mapping

import torch
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from torch import Tensor

from ..common.errors import UserError
from ..layers import Context, DecodingCache, Stack, additive_mask
from ..layers.cache import WIDEST_BEAM
from ..layers.linear import Linear, use_split_products
from .encoder_out import LazyReordering, memory_of, shared_memory
from .norms import give_final_norm

CACHE = "b2t.decoding_cache"  # our entry in fairseq's incremental state


def drop_words(embedded: Tensor, rate: float, keep_first: bool = False) -> Tensor:
    """Word dropout: each (sentence, position) keeps its token embedding with probability 1 - rate, uncorrected.

    Args:
        embedded: token embeddings (B, T, C), before scale and positions.
        rate: probability of losing an embedding; training only is the caller's business.
        keep_first: never drop position 0 (the decoder's beginning of sentence).
    """
    if rate <= 0:
        return embedded
    kept = torch.rand(embedded.shape[:2], device=embedded.device) >= rate
    if keep_first:
        kept[:, 0] = True
    return embedded * kept.unsqueeze(-1).to(embedded.dtype)


def without_layers(cfg, stack: Stack):
    """Return the base class's configuration: no layers of its own, and the final norm that the connection wants."""
    cfg = copy.deepcopy(cfg)
    own = getattr(cfg, stack.config.side)
    own.layers, own.normalize_before = 0, stack.connection.has_final_norm
    return cfg


def adopt(module: "B2TTransformerEncoder | B2TTransformerDecoder", cfg, stack: Stack) -> None:
    """Put the stack where fairseq has its list of layers, and make the final norm the connection's."""
    module.cfg, module.layers, module.num_layers = cfg, stack, len(stack)
    connection = stack.connection
    if connection.has_final_norm and module.layer_norm is None and not connection.final_norm_is_optional:
        raise UserError(
            f"--no-decoder-final-norm does not go with --connection {connection.name}: its final norm is part of it"
        )
    give_final_norm(module, stack)


class B2TTransformerEncoder(LazyReordering, TransformerEncoderBase):
    """Transformer encoder.

    Args:
        cfg: fairseq's TransformerConfig.
        dictionary: source dictionary.
        embed_tokens: source embedding.
        stack: our layers.
        word_dropout: rate of `drop_words` in training.
    """

    layers: Stack

    def __init__(self, cfg, dictionary, embed_tokens, stack: Stack, word_dropout: float = 0.0):
        super().__init__(without_layers(cfg, stack), dictionary, embed_tokens)
        adopt(self, cfg, stack)
        self.word_dropout = word_dropout

    def forward(self, src_tokens, src_lengths=None, return_all_hiddens: bool = False, token_embeddings=None):
        """Encode.

        Args:
            src_tokens: (B, T) token ids, padded left or right.
            src_lengths: unused; kept for fairseq's callers.
            return_all_hiddens: also return the embedding and each layer's output.
            token_embeddings: (B, T, C), to be used instead of looking up `src_tokens`.

        Returns:
            fairseq's dictionary: "encoder_out" [(T, B, C)], "encoder_padding_mask" [(B, T)], ...
        """
        if token_embeddings is None:
            token_embeddings = self.embed_tokens(src_tokens)
        if self.training:
            token_embeddings = drop_words(token_embeddings, self.word_dropout)
        padding = src_tokens.eq(self.padding_idx)
        has_padding = bool(padding.any())
        x, embedding = self.forward_embedding(src_tokens, token_embeddings)
        if has_padding:
            x = x * (~padding).unsqueeze(-1).to(x.dtype)
        x = x.transpose(0, 1)  # (B, T, C) -> (T, B, C)
        hidden = [x] if return_all_hiddens else None
        context = Context(mask=additive_mask(padding if has_padding else None, x))
        x = self.layers(x, context, self.layer_norm, hidden)
        lengths = (~padding).sum(1, dtype=torch.int32).reshape(-1, 1)
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [padding],
            "encoder_embedding": [embedding],
            "encoder_states": hidden or [],
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [lengths],
        }


class B2TTransformerDecoder(TransformerDecoderBase):
    """Transformer decoder, with or without an encoder beside it.

    Args:
        cfg: fairseq's TransformerConfig.
        dictionary: target dictionary.
        embed_tokens: target embedding.
        stack: our layers.
        word_dropout: rate of `drop_words` in training; the first position is always kept.
    """

    layers: Stack

    def __init__(self, cfg, dictionary, embed_tokens, stack: Stack, word_dropout: float = 0.0):
        no_encoder = "CA" not in stack.config.kinds
        super().__init__(without_layers(cfg, stack), dictionary, embed_tokens, no_encoder)
        adopt(self, cfg, stack)
        if self.output_projection is not None:  # which an adaptive softmax is instead of
            self.output_projection = Linear.like(self.output_projection)
            if stack.split_products:
                use_split_products(self.output_projection)
        self.word_dropout = word_dropout
        self.beam = 1  # rows per sentence; where there is an encoder, its output says how many
        self.keeps_attention = False  # in training, too: set where a criterion reads it

    def embed(self, prev_output_tokens: Tensor, incremental_state: dict | None) -> tuple[Tensor, Tensor]:
        """Return the decoder's input `(B, T, C)` and its tokens `(B, T)`: all, or only the newest when decoding."""
        positions = None
        if self.embed_positions is not None:
            positions = self.embed_positions(prev_output_tokens, incremental_state=incremental_state)
        if incremental_state is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
            positions = None if positions is None else positions[:, -1:]
        x = self.embed_tokens(prev_output_tokens)
        if self.training:
            x = drop_words(x, self.word_dropout, keep_first=True)
        x = self.embed_scale * x
        if self.project_in_dim is not None:
            x = self.project_in_dim(x)
        if positions is not None:
            x = x + positions
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x), prev_output_tokens

    def context(
        self, x: Tensor, tokens: Tensor, encoder_out: dict | None, incremental_state: dict | None, full_context: bool
    ) -> Context:
        """Masks and encoder states for the layers.

        Args:
            x: (T, B, C), the embedding.
            tokens: (B, T), the tokens it stands for.
            encoder_out: the encoder's dictionary.
            incremental_state: fairseq's caches.
            full_context: no future is hidden (`full_context_alignment`).
        """
        padding = tokens.eq(self.padding_idx)
        padding = padding if bool(padding.any()) else None
        if incremental_state is not None:
            return self.decoding_context(x, padding, encoder_out, incremental_state)
        causal = not full_context
        memory = memory_mask = None
        if encoder_out is not None and encoder_out["encoder_out"]:
            memory, memory_padding = memory_of(encoder_out)
            memory_mask = additive_mask(memory_padding, memory)
        if padding is None:
            return Context(causal=causal, memory=memory, memory_mask=memory_mask)
        mask = additive_mask(padding, x, causal_length=x.size(0) if causal else 0)
        return Context(mask=mask, memory=memory, memory_mask=memory_mask)

    def decoding_context(
        self, x: Tensor, padding: Tensor | None, encoder_out: Mapping | None, incremental_state: dict
    ) -> Context:
        """One step of incremental decoding: x is (1, R, C)."""
        cache = incremental_state.get(CACHE)
        if cache is None:
            rows = x.size(1)
            if encoder_out is not None and encoder_out["encoder_out"]:
                memory, memory_padding, beam = shared_memory(encoder_out)
            else:
                beam = self.beam if rows % self.beam == 0 and self.beam <= WIDEST_BEAM else 1
                memory = memory_padding = None
            cache = incremental_state[CACHE] = DecodingCache(rows, beam, memory, memory_padding, self.num_layers)
        cache.begin_step(x.device, padding)
        return Context(memory=cache.memory, cache=cache)

    def forward(
        self, prev_output_tokens, encoder_out=None, incremental_state=None, features_only=False, *more, **options
    ):
        """Return the logits `(B, T, V)`, or without the output layer `(B, T, C)`, and what `extract_features` does.

        Args:
            prev_output_tokens: (B, T) token ids, the target shifted by one.
            encoder_out: what the encoder returned.
            incremental_state: fairseq's caches; then only the last position is computed.
            features_only: leave out the output layer (and so does an adaptive softmax, which the loss has).
            *more, **options: fairseq's; `extract_features` has most of them.
        """
        x, extra = super().forward(prev_output_tokens, encoder_out, incremental_state, True, *more, **options)
        if features_only:
            return x, extra
        is_product = self.adaptive_softmax is None and type(self).output_layer is TransformerDecoderBase.output_layer
        cache = incremental_state.get(CACHE) if incremental_state and is_product else None
        return (self.output_layer if cache is None else cache.linear(self.output_projection))(x), extra

    def reorder_incremental_state_scripting(self, incremental_state: dict, new_order: Tensor) -> None:
        """Follow the beam: row i becomes what row new_order[i] was."""
        if CACHE in incremental_state:
            incremental_state[CACHE].reorder(new_order)

    def extract_features(
        self,
        prev_output_tokens,
        encoder_out=None,
        incremental_state=None,
        full_context_alignment: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
    ):
        """Decode up to, but without, the output layer.

        Args:
            prev_output_tokens: (B, T) token ids, the target shifted by one.
            encoder_out: what the encoder returned.
            incremental_state: fairseq's caches; then only the last position is computed.
            full_context_alignment: let self-attention see the future.
            alignment_layer: index of the layer whose attention to the source is returned; default the last, and then
                only in evaluation, where fairseq has not switched it off, or where a criterion reads it.
            alignment_heads: mean over the first so many heads; default all.

        Returns:
            (B, T, C) and fairseq's dictionary: "attn" [(B, T, S) or None], "inner_states" [(T, B, C), ...].
        """
        x, tokens = self.embed(prev_output_tokens, incremental_state)
        x = x.transpose(0, 1)  # (B, T, C) -> (T, B, C)
        context = self.context(x, tokens, encoder_out, incremental_state, full_context_alignment)
        hidden, weights = [x], []
        by_default = self.keeps_attention if self.training else self.layers[-1].need_attn
        wanted = alignment_layer is not None or by_default
        weights_from = (self.num_layers - 1 if alignment_layer is None else alignment_layer) if wanted else None
        cache = context.cache
        if cache is not None:
            x = cache.enter(x)
        x = self.layers(x, context, self.layer_norm, hidden, weights_from, weights)
        if cache is not None:
            embedding, *outputs = hidden  # the embedding has not entered
            x, hidden = cache.leave(x), [embedding, *(cache.leave(output) for output in outputs)]
        attention = weights[0][:alignment_heads].float().mean(0) if weights else None
        x = x.transpose(0, 1)  # (T, B, C) -> (B, T, C)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        return x, {"attn": [attention], "inner_states": hidden}
