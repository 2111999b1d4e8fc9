"""The layers of models that are not ours: what the probes ask of a `Stack`, of fairseq's own layer modules.

Any Transformer fits whose `encoder.layers` and `decoder.layers` are modules that return their output (T, B, C), alone
or first of several; that is so in fairseq and its forks.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from ..common.errors import UserError

NAMES = ("layers", "transformer_layers")  # the second is of fairseq's speech encoder


class StockStack:
    """One side's layers.

    Attributes:
        config: side, and the kinds of sub-layers.
        connection: this object, which knows what a layer's output is.
    """

    name, norm_reads_sum = "fairseq's own", True
    checkpoint_activations = shares_layers = False

    def __init__(self, side: str, layers: nn.Module):
        self.layers = list(layers._modules.values())  # an iterator of fairseq's leaves some out while it trains
        has_cross_attention = getattr(self.layers[0], "encoder_attn", None) is not None
        self.config = SimpleNamespace(side=side, kinds=("SA", "CA", "FF") if has_cross_attention else ("SA", "FF"))
        self.connection = self

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, place: int) -> nn.Module:
        return self.layers[place]

    def unique_layers(self) -> Iterator[nn.Module]:
        """Yield the layers."""
        yield from self.layers

    def output(self, returned: Any) -> Tensor:
        """Return a layer's output (T, B, C) out of what it returned.

        Raises:
            UserError: it is of another shape.
        """
        output = returned[0] if isinstance(returned, tuple | list) else returned
        if not isinstance(output, Tensor) or output.dim() != 3:
            raise UserError(f"the layers of the {self.config.side} return no (T, B, C): they cannot be probed")
        return output


def stock_stacks(model: nn.Module) -> dict[str, StockStack]:
    """Return the stacks of a model that is not ours, by side; empty if it has no layers that can be heard."""
    stacks = {}
    for side in ("encoder", "decoder"):
        found = (getattr(getattr(model, side, None), name, None) for name in NAMES)
        layers = next((layers for layers in found if isinstance(layers, nn.ModuleList) and len(layers)), None)
        if layers is not None:
            stacks[side] = StockStack(side, layers)
    return stacks
