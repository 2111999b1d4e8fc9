"""One Transformer layer, with or without cross-attention; what joins its sub-layers is the connection's business."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..connections.base import Connection
from ..connections.config import CROSS_ATTENTION, FEED_FORWARD, SELF_ATTENTION, StackConfig
from .activation import activation_fn
from .attention import MultiheadAttention
from .cache import DecodingCache
from .dropout import Dropout
from .linear import Linear

STOCK_PREFIX = {SELF_ATTENTION: "self_attn", CROSS_ATTENTION: "encoder_attn", FEED_FORWARD: "final"}


class Branch(NamedTuple):
    """A sub-layer F: `branch(x)` is dropout(raw(x)), (T, B, C) -> (T, B, C)."""

    raw: Callable[[Tensor], Tensor]
    dropout: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.dropout(self.raw(x))


class Context(NamedTuple):
    """What a layer reads besides the stream; the same for all layers of a stack, but for `branch_scale`.

    Attributes:
        mask: additive self-attention mask (`additive_mask`), or None.
        causal: self-attention hides the future; only without a mask.
        memory: encoder states (S, B, C_memory), if there is cross-attention.
        memory_mask: additive cross-attention mask.
        cache: of incremental decoding; then T = 1, and it has the masks.
        branch_scale: what the branches are multiplied by (0-d) while they warm up; None: 1.
    """

    mask: Tensor | None = None
    causal: bool = False
    memory: Tensor | None = None
    memory_mask: Tensor | None = None
    cache: DecodingCache | None = None
    branch_scale: Tensor | None = None


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention if the stack has it, feed-forward, joined by a connection.

    Args:
        config: sizes of the stack.
        connection: asked once, here, which norms each sub-layer needs.
        number: the layer's number l = 1...L; of those that share its parameters, the first one's.
    """

    self_attn: MultiheadAttention
    encoder_attn: MultiheadAttention  # if the stack has cross-attention

    def __init__(self, config: StackConfig, connection: Connection, number: int):
        super().__init__()
        self.config, self.number = config, number
        self.need_attn = True  # fairseq's generator turns it off where alignments are not wanted
        self.dropout_module = Dropout(config.dropout, module_name=self.stock_class_name, widens=True)
        self.activation_dropout_module = Dropout(config.activation_dropout, module_name=self.stock_class_name)
        self.activation_fn = activation_fn(config.activation)
        self._norms = []
        for kind in config.kinds:
            inner = connection.inner_norms(number, kind)
            if kind == FEED_FORWARD:
                self.fc1 = Linear(config.width, config.ffn_width)
                self.fc2 = Linear(config.ffn_width, config.width)
                self.ffn_layernorm = config.make_norm(config.ffn_width) if inner else None
            else:
                memory_width = config.memory_width if kind == CROSS_ATTENTION else None
                attention = MultiheadAttention(
                    config.width, config.heads, memory_width, config.attention_dropout, inner, config.norm
                )
                self.add_module(STOCK_PREFIX[kind], attention)
            names = [f"{STOCK_PREFIX[kind]}_{name}" for name in connection.norms(number, kind)]
            for name in names:
                self.add_module(name, config.make_norm())
            self._norms.append(names)

    @property
    def stock_class_name(self) -> str:
        """The name under which `--retain-dropout-modules` knows such a layer."""
        return f"Transformer{self.config.side.capitalize()}Layer"

    def forward(
        self,
        stream: Any,
        connection: Connection,
        context: Context,
        weights_to: list[Tensor] | None = None,
        number: int | None = None,
    ) -> Any:
        """Let the stream through the layer.

        Args:
            stream: what the connection carries: a tensor (T, B, C) or a named tuple of tensors.
            connection: decides how the sub-layers are joined.
            context: masks, encoder states and caches.
            weights_to: if given, the cross-attention's probabilities (H, B, T, S) are appended to it.
            number: the number l = 1...L of the layer that this one stands for, if several share its parameters.
        """
        l = number or self.number
        if context.cache is not None:
            context.cache.layer = l
        scale = context.branch_scale
        dropout = self.dropout_module if scale is None else lambda x: self.dropout_module(x) * scale
        branches = {
            SELF_ATTENTION: lambda x: self.self_attention(x, context),
            CROSS_ATTENTION: lambda x: self.cross_attention(x, context, weights_to),
            FEED_FORWARD: lambda x: self.feed_forward(x, context),
        }
        stream = connection.enter_layer(stream, l)
        for j, kind in enumerate(self.config.kinds):
            norms = tuple(getattr(self, name) for name in self._norms[j])
            stream = connection.sublayer(stream, l, j, Branch(branches[kind], dropout), norms)
        return connection.leave_layer(stream, l)

    def self_attention(self, x: Tensor, context: Context) -> Tensor:
        return self.self_attn(x, mask=context.mask, causal=context.causal, cache=context.cache)[0]

    def cross_attention(self, x: Tensor, context: Context, weights_to: list[Tensor] | None) -> Tensor:
        x, weights = self.encoder_attn(
            x,
            memory=context.memory,
            mask=context.memory_mask,
            cache=context.cache,
            need_weights=weights_to is not None,
        )
        if weights_to is not None:
            weights_to.append(weights)
        return x

    def feed_forward(self, x: Tensor, context: Context) -> Tensor:
        cache = context.cache
        x = self.activation_fn(self.fc1(x)) if cache is None else cache.linear(self.fc1, then=self.activation_fn)(x)
        x = self.activation_dropout_module(x)
        if self.ffn_layernorm is not None:
            x = self.ffn_layernorm(x)
        return (self.fc2 if cache is None else cache.linear(self.fc2))(x)

    def make_generation_fast_(self, need_attn: bool = False, **kwargs) -> None:
        """Compute attention weights only where alignments are wanted; fairseq's generator calls this."""
        self.need_attn = need_attn

    def upgrade_state_dict_named(self, state_dict: dict, name: str) -> None:
        """Accept names of older fairseq versions."""
        for i, kind in enumerate(self.config.kinds):
            for part in ("weight", "bias"):
                old = state_dict.pop(f"{name}.layer_norms.{i}.{part}", None)
                if old is not None:
                    state_dict[f"{name}.{STOCK_PREFIX[kind]}_layer_norm.{part}"] = old
        # fairseq 0.12.2 saves unused copies for torch's inference fast path beside each encoder layer
        for copy in ("in_proj", "out_proj", "fc1", "fc2"):
            for part in ("weight", "bias"):
                state_dict.pop(f"{name}.{copy}_{part}", None)

    def extra_repr(self) -> str:
        return f"number={self.number}"
