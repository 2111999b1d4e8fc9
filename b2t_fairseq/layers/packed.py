"""Linear layers whose weights are rearranged once for many products, as decoding needs them on a CPU."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import native
from .activation import relu

FEWEST_ROWS = 32  # with fewer, packing weights takes longer than it saves

_OPERATIONS = torch.ops.mkldnn
IS_AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and hasattr(_OPERATIONS, "_reorder_linear_weight")
    and hasattr(_OPERATIONS, "_linear_pointwise")
    and hasattr(_OPERATIONS, "_is_mkldnn_bf16_supported")
)


class SplitLinear:
    """x W^T + b by AMX, with float32's accuracy: each number the sum of three that AMX multiplies (`native.linear`).

    Args:
        weight: (C_out, C_in), float32.
        bias: (C_out,).
        rows: about how many rows the products will have.
        relu: max(0, x W^T + b).
    """

    def __init__(self, weight: Tensor, bias: Tensor, rows: int, relu: bool = False):
        self.width, self.relu, self.weight = len(weight), relu, native.pack(weight)
        self.bias = F.pad(bias.detach(), (0, native.rounded_up(self.width) - self.width))

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return native.linear(x, self.weight, self.bias, self.width, self.relu)


class OneDnnLinear:
    """x W^T + b in oneDNN's own layout of W: without repacking W and without a pass for bias and ReLU at each step.

    Args:
        weight: (C_out, C_in).
        bias: (C_out,) or None.
        rows: about how many rows the products will have.
        relu: max(0, x W^T + b).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int, relu: bool = False):
        self.weight, self.bias = _OPERATIONS._reorder_linear_weight(weight.detach(), rows), bias
        self.then = "relu" if relu else "none"

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return _OPERATIONS._linear_pointwise(x, self.weight, self.bias, self.then, [], "")


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN has this product: on a CPU in float32, and in bfloat16 where the processor knows it."""
    if not IS_AVAILABLE or weight.device.type != "cpu":
        return False
    is_bf16 = weight.dtype == torch.bfloat16
    return weight.dtype == torch.float32 or (is_bf16 and _OPERATIONS._is_mkldnn_bf16_supported())


def can_split(weight: Tensor) -> bool:
    """Whether AMX can be used for products in float32: where there is AMX."""
    return weight.size(1) % 32 == 0 and native.suits(weight, torch.float32) and native.has_linear()


def prepared(
    modules: Sequence[nn.Linear], rows: int, then: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """The product with the modules' weights, one below the other, for many products of about `rows` rows.

    A single module that packing does not help is used as it is: nothing is copied. `then` is applied to the product;
    `relu` becomes a part of it where the weights are packed.
    """
    pays = rows >= FEWEST_ROWS and can_pack(modules[0].weight)
    if len(modules) == 1 and not pays:
        (product,) = modules
    else:
        weight, bias = (torch.cat([getattr(m, name) for m in modules]) for name in ("weight", "bias"))
        if pays:
            packed = SplitLinear if can_split(weight) else OneDnnLinear
            if then is relu:
                return packed(weight, bias, rows, relu=True)
            product = packed(weight, bias, rows)
        else:
            product = partial(F.linear, weight=weight, bias=bias)
    return product if then is None else lambda x: then(product(x))
