"""The kinds of norm (`--norm`): what stands wherever a stack has a LayerNorm.

To add one: write it, then name it here.
"""

from collections.abc import Callable

from torch import nn

#: a norm of a given width and epsilon, by the name of its kind
NORMS: dict[str, Callable[..., nn.Module]] = {"layer": nn.LayerNorm}


def make_norm(kind: str, width: int, eps: float = 1e-5) -> nn.Module:
    """Return a norm over the last of a tensor's dimensions, as it is before the first update."""
    return NORMS[kind](width, eps=eps)
