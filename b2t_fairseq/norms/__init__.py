"""The kinds of norm (`--norm`): what stands wherever a stack has a LayerNorm.

To add one: write its file, then name it here.
"""

from torch import nn

from .erf import DynamicErf
from .rms import RMSNorm
from .tanh import DynamicTanh
from .unified import UnifiedNorm

#: a norm of a given width and epsilon, by the name of its kind
NORMS: dict[str, type[nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": RMSNorm,
    "un": UnifiedNorm,
    "dyt": DynamicTanh,
    "derf": DynamicErf,
}


def make_norm(kind: str, width: int, eps: float = 1e-5) -> nn.Module:
    """Return a norm over the last of a tensor's dimensions, as it is before the first update."""
    return NORMS[kind](width, eps=eps)
