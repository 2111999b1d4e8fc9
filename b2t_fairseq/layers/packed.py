"""Linear layers whose weights are rearranged once for many products, as decoding needs them on a CPU."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activation import relu

FEWEST_ROWS = 32  # with fewer, packing weights takes longer than it saves

_OPERATIONS = torch.ops.mkldnn
IS_AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and hasattr(_OPERATIONS, "_reorder_linear_weight")
    and hasattr(_OPERATIONS, "_linear_pointwise")
    and hasattr(_OPERATIONS, "_is_mkldnn_bf16_supported")
)


class MklLinear:
    """x W^T + b in MKL's own layout of W, which torch's float32 products arrange anew each time.

    Args:
        weight: (C_out, C_in), float32.
        bias: (C_out,).
        rows: about how many rows the products will have.
        relu: max(0, x W^T + b).
    """

    def __init__(self, weight: Tensor, bias: Tensor, rows: int, relu: bool = False):
        self.packed, self.bias = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), rows), bias
        self.shape_of_weight = weight.new_empty(1).expand(weight.shape)  # nothing else is read of it
        self.then = torch.relu_ if relu else lambda x: x

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        rows = x.numel() // x.size(-1)  # where it is not the number of rows packed for, torch would not use `packed`
        return self.then(torch.ops.mkl._mkl_linear(x, self.packed, self.shape_of_weight, self.bias, rows))


@lru_cache(maxsize=64)
def mkl_can_pack(width: int, inner: int) -> bool:
    """Whether a (width, inner) weight that MKL packed for some number of rows serves for others.

    MKL does not promise it; its layout has been seen to depend on the weight alone. Tried once for each shape.
    """
    if not hasattr(torch.ops.mkl, "_mkl_linear") or not hasattr(torch.ops.mkl, "_mkl_reorder_linear_weight"):
        return False
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(width, inner, generator=generator), torch.zeros(width)
    product, x = MklLinear(weight, bias, 4 * FEWEST_ROWS), torch.randn(2 * FEWEST_ROWS, inner, generator=generator)
    expected = F.linear(x, weight)
    return all(torch.allclose(product(x[:n]), expected[:n], rtol=1e-4, atol=1e-4) for n in (1, 7, len(x)))


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
            packed = MklLinear if weight.dtype == torch.float32 and mkl_can_pack(*weight.shape) else OneDnnLinear
            if then is relu:
                return packed(weight, bias, rows, relu=True)
            product = packed(weight, bias, rows)
        else:
            product = partial(F.linear, weight=weight, bias=bias)
    return product if then is None else lambda x: then(product(x))
