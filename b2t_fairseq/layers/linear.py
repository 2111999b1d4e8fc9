"""Linear layers whose products are faster on a CPU than torch's.

Without gradients, products of few rows read each weight once, and those in bfloat16 are done in float32 where the
processor has none. In training, if asked for, x W^T and both products of its gradient are split for AMX.
"""

import functools
import logging
from collections.abc import Hashable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from .. import native
from .dropout import is_compiling
from .packed import has_products, suits_few_rows
from .recompute import autocast_settings

logger = logging.getLogger(__name__)

# Below them torch's products are used: what packing costs grows with less than the product. Reckoned, not measured:
# there was no machine with AMX.
FEWEST_ROWS = 128
SMALLEST_WIDTH = 128  # of C_in and C_out


class Linear(nn.Linear):
    """`nn.Linear`, in training by split products if `splits` is set: see `use_split_products`."""

    splits = False

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **kind):
        super().__init__(in_features, out_features, bias, **kind)
        self.packed = PackedWeight()

    @classmethod
    def like(cls, module: nn.Linear) -> "Linear":
        """Return one with a module's own parameters; no random numbers are drawn."""
        own = cls(module.in_features, module.out_features, module.bias is not None, device="meta")
        own.weight, own.bias = module.weight, module.bias
        return own.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        # training, and not whether there is a graph: layers that are recomputed have none at first
        if self.splits and self.training and can_split(x, self.weight):
            return SplitProduct.apply(x, self.weight, self.bias, self.packed)
        if not self.training and is_plain(x, self):
            if suits_few_rows([self], x.numel() // x.size(-1)):
                return native.FewRows([self], relu=False)(x)
            if not has_products(x.dtype):
                bias = None if self.bias is None else self.bias.float()
                return F.linear(x.float(), self.weight.float(), bias).to(x.dtype)
        return super().forward(x)


def use_split_products(module: nn.Module) -> None:
    """Let all of a module's `Linear` layers train by split products, where these are possible."""
    count_updates()
    for layer in module.modules():
        if isinstance(layer, Linear):
            layer.splits = True


def is_plain(x: Tensor, module: nn.Linear) -> bool:
    """Whether a module's product with x is one on the CPU without a graph, conversions or errors."""
    weight = module.weight
    fits = (x.device.type, x.dtype, x.size(-1)) == (weight.device.type, weight.dtype, weight.size(1))
    return fits and x.device.type == "cpu" and not (torch.is_grad_enabled() or autocast_settings("cpu")["enabled"])


def can_split(x: Tensor, weight: Tensor) -> bool:
    """Whether x W^T can be, and is worth, a split product; if they are never possible here, the log says so once."""
    if is_compiling() or not isinstance(weight, nn.Parameter):  # a weight that is computed anew each time
        return False
    kinds = {(t.device.type, t.dtype) for t in (x, weight)}
    if kinds != {("cpu", torch.float32)} or autocast_settings("cpu")["enabled"]:
        warn_once("they are for float32 on a CPU")
        return False
    if not native.has_linear():
        warn_once("this machine has no AMX, or no compiler for it")
        return False
    return x.numel() >= FEWEST_ROWS * x.size(-1) and min(weight.shape) >= SMALLEST_WIDTH


@functools.cache
def warn_once(why: str) -> None:
    """Say in the log, once, why there are no split products."""
    logger.warning(f"--split-products: {why}; torch's products are used")


class SplitProduct(torch.autograd.Function):
    """x W^T + b, and its gradient, with float32's accuracy by AMX (`native.linear`)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, packed: "PackedWeight") -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.packed = packed
        return native.linear(x, packed(weight), bias, len(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        rows, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        of_x = of_weight = None
        if torch.is_grad_enabled():  # for gradients of the gradients, which torch's products have
            of_x = gradient @ weight if needs_x else None
            of_weight = rows.mT @ inputs if needs_weight else None
        else:
            width = weight.size(1)
            if needs_x:
                of_x = native.linear(gradient, ctx.packed(weight, transposed=True), None, width)
            if needs_weight:
                of_weight = native.linear(rows, native.pack(inputs, transposed=True), None, width, transposed=True)
        return of_x, of_weight, rows.sum(0) if needs_bias else None, None


class PackedWeight:
    """A weight, and its transpose, packed when first used and again when the weight has changed.

    12 bytes a number. Copies, also those that are pickled, begin empty.
    """

    def __init__(self):
        self.version: Hashable = None
        self.packed: dict[bool, Tensor] = {}

    def __reduce__(self):
        return PackedWeight, ()

    def __call__(self, weight: Tensor, transposed: bool = False) -> Tensor:
        """Return `native.pack` of the weight, or of its transpose."""
        # what fairseq's optimizers write to `weight.data`, and torch's fused ones, is no new version to torch
        version = weight.data_ptr(), weight._version, updates
        if self.version != version:
            self.version, self.packed = version, {}
        if transposed not in self.packed:
            self.packed[transposed] = native.pack(weight, transposed)
        return self.packed[transposed]


updates = 0  # of all optimizers of this process, once `count_updates` was called


@functools.cache
def count_updates() -> None:
    """Begin to count `updates`."""

    def count(*_) -> None:
        global updates
        updates += 1

    register_optimizer_step_post_hook(count)
