"""What a stack of layers is made of: given to the stack, to each layer and to the connection."""

from dataclasses import dataclass

from torch import nn

from ..norms import make_norm

SELF_ATTENTION, CROSS_ATTENTION, FEED_FORWARD = "SA", "CA", "FF"


@dataclass(frozen=True)
class StackConfig:
    """The sizes of one stack.

    Attributes:
        side: "encoder" or "decoder"; a language model is a decoder without an encoder.
        depth: number of layers L of this stack.
        other_depth: number of layers of the other stack, or None if there is no other.
        width: model width d.
        ffn_width: inner width of the feed-forward sub-layer.
        heads: attention heads.
        kinds: the sub-layers of a layer, in order, of "SA", "CA", "FF".
        dropout: probability after each sub-layer and on the embedding.
        attention_dropout: probability on the attention probabilities.
        activation_dropout: probability inside the feed-forward sub-layer.
        activation: name of the feed-forward activation, as fairseq names them.
        memory_width: width of the encoder states that cross-attention reads, if it is not `width`.
        norm: the kind of every norm in the stack (`--norm`).
    """

    side: str
    depth: int
    width: int
    ffn_width: int
    heads: int
    kinds: tuple[str, ...] = (SELF_ATTENTION, FEED_FORWARD)
    other_depth: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation: str = "relu"
    memory_width: int | None = None
    norm: str = "layer"

    @property
    def is_language_model(self) -> bool:
        return self.side == "decoder" and self.other_depth is None

    def make_norm(self, width: int | None = None, eps: float = 1e-5) -> nn.Module:
        """Return a new norm of the stack's kind, by default over the model width."""
        return make_norm(self.norm, width or self.width, eps)
