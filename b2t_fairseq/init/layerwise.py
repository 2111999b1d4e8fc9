"""What the initialisations share: a layer's weight matrices by role."""

from collections.abc import Iterator

from torch import nn

from ..layers import FEED_FORWARD, TransformerLayer
from ..layers.layer import STOCK_PREFIX


def projections(
    layer: TransformerLayer, names: str = "q k v out fc1 fc2", skip: tuple[str, ...] = ()
) -> Iterator[tuple[str, nn.Linear]]:
    """(name, module) of a layer's projections.

    Args:
        layer: the layer.
        names: which, of "q k v out fc1 fc2"; the first four of every attention.
        skip: kinds of sub-layers, of "SA", "CA", "FF", that are left alone.
    """
    for kind in layer.config.kinds:
        if kind in skip:
            continue
        for name in names.split():
            if (kind == FEED_FORWARD) == name.startswith("fc"):
                owner = layer if kind == FEED_FORWARD else getattr(layer, STOCK_PREFIX[kind])
                yield name, getattr(owner, name if kind == FEED_FORWARD else f"{name}_proj")
