"""Linear layers whose weights are rearranged once for many products, as decoding needs them on a CPU."""

import torch
from torch import Tensor
from torch.nn import functional as F

_OPERATIONS = torch.ops.mkldnn
IS_AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and hasattr(_OPERATIONS, "_reorder_linear_weight")
    and hasattr(_OPERATIONS, "_linear_pointwise")
)


class PackedLinear:
    """x W^T + b in oneDNN's own layout of W: without repacking W and without a pass for the bias at each step.

    Args:
        weight: (C_out, C_in).
        bias: (C_out,) or None.
        rows: about how many rows the products will have.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int):
        self.weight, self.bias = _OPERATIONS._reorder_linear_weight(weight.detach(), rows), bias

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return _OPERATIONS._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class PlainLinear:
    """The same for any device: F.linear."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
