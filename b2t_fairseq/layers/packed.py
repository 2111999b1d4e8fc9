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
        relu: max(0, x W^T + b).
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool):
        self.width, self.relu, self.weight = len(weight), relu, native.pack(weight)
        self.bias = F.pad(bias.detach(), (0, native.rounded_up(self.width) - self.width))

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return native.linear(x, self.weight, self.bias, self.width, self.relu)


class OneDnnLinear:
    """x W^T + b in oneDNN's own layout of W: without repacking W and without a pass for bias and ReLU at each step.

    Args:
        weight: (C_out, C_in).
        bias: (C_out,).
        relu: max(0, x W^T + b).
        rows: about how many rows the products will have.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool, rows: int):
        self.weight, self.bias = _OPERATIONS._reorder_linear_weight(weight.detach(), rows), bias
        self.then = "relu" if relu else "none"

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        x = x.to(self.bias.dtype)  # under autocast x may be in bfloat16
        return _OPERATIONS._linear_pointwise(x, self.weight, self.bias, self.then, [], "")


def packing(weight: Tensor, rows: int) -> Callable[..., Callable[[Tensor], Tensor]] | None:
    """Return what packs weights of this kind for about `rows` rows; None where nothing does, or it does not pay."""
    if rows < FEWEST_ROWS or weight.device.type != "cpu":
        return None
    if (
        native.suits(weight, torch.float32)
        and native.has_linear()
        and native.rounded_up(weight.size(1)) == weight.size(1)
    ):
        return SplitLinear
    is_known = weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and IS_AVAILABLE and _OPERATIONS._is_mkldnn_bf16_supported()
    )
    return partial(OneDnnLinear, rows=rows) if IS_AVAILABLE and is_known else None


def prepared(
    modules: Sequence[nn.Linear], rows: int, then: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """Return the product with the modules' weights, one below the other, for many products of about `rows` rows.

    A single module that packing does not help is used as it is: nothing is copied. `then` is applied to the product;
    `relu` becomes a part of it where the weights are packed.
    """
    packed = packing(modules[0].weight, rows)
    takes_relu = packed is not None and then is relu
    if packed is None and len(modules) == 1:
        (product,) = modules
    else:
        weight, bias = (torch.cat([getattr(m, name) for m in modules]) for name in ("weight", "bias"))
        product = packed(weight, bias, relu=takes_relu) if packed else partial(F.linear, weight=weight, bias=bias)
    return product if then is None or takes_relu else lambda x: then(product(x))
