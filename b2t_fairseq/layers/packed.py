"""Linear layers as decoding needs them on a CPU: many products with the same weights, of few rows or of many."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import native
from .activation import relu
from .linear import FEWEST_ROWS, has_products, is_ordinary, suits_few_rows

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
        self.width, self.relu, self.weight, self.bias = len(weight), relu, native.pack(weight), bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return native.linear(x, self.weight, self.bias, self.width, self.relu)


class OneDnnLinear:
    """x W^T + b in oneDNN's own layout of W: without repacking W and without a pass for bias and ReLU at each step.

    Where the processor has no products in bfloat16, which torch does one number at a time, they are done in float32.

    Args:
        weight: (C_out, C_in).
        bias: (C_out,).
        relu: max(0, x W^T + b).
        rows: about how many rows the products will have.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool, rows: int):
        self.dtype, product = weight.dtype, weight.dtype if has_products(weight.dtype) else torch.float32
        self.weight = _OPERATIONS._reorder_linear_weight(weight.detach().to(product), rows)
        self.bias = bias.to(product)
        self.then = "relu" if relu else "none"

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        x = x.to(self.bias.dtype)  # under autocast x may be in bfloat16
        return _OPERATIONS._linear_pointwise(x, self.weight, self.bias, self.then, [], "").to(self.dtype)


def packing(weight: Tensor, rows: int) -> Callable[..., Callable[[Tensor], Tensor]] | None:
    """Return what packs weights of this kind for about `rows` rows; None where nothing does, or it does not pay."""
    if rows < FEWEST_ROWS or weight.device.type != "cpu":  # fewer would not pay for it
        return None
    if native.suits(weight, torch.float32) and native.has_linear():
        return SplitLinear
    return partial(OneDnnLinear, rows=rows) if IS_AVAILABLE and weight.dtype in native.DTYPES else None


def prepared(
    modules: Sequence[nn.Linear], rows: int, then: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """Return the product with the modules' weights, one below the other, for many products of about `rows` rows.

    A single module that nothing makes faster is used as it is, and so are modules that do more than multiply. `then`
    is applied to the product; `relu` becomes a part of it where the product is ours or oneDNN's.
    """
    if not all(map(is_ordinary, modules)):
        return lambda x: (then or nn.Identity())(torch.cat([module(x) for module in modules], -1))
    packed, reads_once = packing(modules[0].weight, rows), suits_few_rows(modules, rows)
    takes_relu = then is relu and (reads_once or packed is not None)
    if reads_once:
        product = native.FewRows(modules, takes_relu)
    elif packed is None and len(modules) == 1:
        (product,) = modules
    else:
        weight = torch.cat([m.weight for m in modules])
        bias = torch.cat([weight.new_zeros(m.out_features) if m.bias is None else m.bias for m in modules])
        product = packed(weight, bias, relu=takes_relu) if packed else partial(F.linear, weight=weight, bias=bias)
    return product if then is None or takes_relu else lambda x: then(product(x))
