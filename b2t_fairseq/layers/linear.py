"""Linear layers whose products are faster on a CPU than torch's.

Without gradients, products of few rows read each weight once, and those in bfloat16 are done in float32 where the
processor has none. In training, if asked for, x W^T and both products of its gradient are split for AMX.
"""

import functools
import logging
import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from .. import native
from .dropout import is_compiling
from .recompute import autocast_settings

logger = logging.getLogger(__name__)

FEWEST_ROWS = 32  # with fewer, a product takes as long as reading the weights
# Below them torch's products are used in training: what packing costs grows with less than the product. Reckoned, not
# measured.
FEWEST_SPLIT_ROWS = 128
SMALLEST_SPLIT_WIDTH = 128  # of C_in and C_out


class Linear(nn.Linear):
    """`nn.Linear`, whose products on a CPU are faster in evaluation, and in training if `splits` is set.

    What sets it is `use_split_products`.
    """

    splits = False

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **kind):
        super().__init__(in_features, out_features, bias, **kind)
        self.packed_weight = PackedWeight()

    @classmethod
    def like(cls, module: nn.Linear) -> "Linear":
        """Return one with a module's own parameters; no random numbers are drawn."""
        own = cls(module.in_features, module.out_features, module.bias is not None, device="meta")
        own.weight, own.bias = module.weight, module.bias
        return own.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        # training, and not whether there is a graph: layers that are recomputed have none at first
        if self.splits and self.training and can_split(x, self):
            return SplitProduct.apply(x, self.weight, self.bias, self.packed_weight)
        if not self.training and is_plain(x, self):
            if suits_few_rows([self], math.prod(x.shape[:-1])):
                return native.FewRows([self], relu=False)(x)
            if not has_products(x.dtype):
                bias = None if self.bias is None else self.bias.float()
                return F.linear(x.float(), self.weight.float(), bias).to(x.dtype)
        return super().forward(x)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if self.splits:  # of a pickled module
            count_updates()

    def _apply(self, *args, **options):
        self.packed_weight.clear()  # another dtype and back may leave other numbers at the same address
        return super()._apply(*args, **options)


def use_split_products(module: nn.Module) -> None:
    """Let all of a module's `Linear` layers train by split products, where these are possible."""
    count_updates()
    for layer in module.modules():
        if isinstance(layer, Linear):
            layer.splits = True


def fits(x: Tensor, module: nn.Linear) -> bool:
    """Whether x and the module's parameters are plain tensors on the CPU that go together without conversions."""
    parameters = [p for p in (module.weight, module.bias) if p is not None]
    same = {(t.device.type, t.dtype) for t in (x, *parameters)} == {("cpu", x.dtype)}
    return same and type(x) is Tensor and all(type(p) is nn.Parameter for p in parameters) and is_as_wide(x, module)


def is_as_wide(x: Tensor, module: nn.Linear) -> bool:
    """Whether x is (..., C_in)."""
    return x.dim() > 0 and x.size(-1) == module.weight.size(1) > 0


def is_plain(x: Tensor, module: nn.Linear) -> bool:
    """Whether a module's product with x needs no graph, conversion or error message, and nobody follows it."""
    if is_compiling() or torch.is_grad_enabled() or native.is_watched():
        return False
    return fits(x, module) and not autocast_settings("cpu")["enabled"]


def can_split(x: Tensor, module: nn.Linear) -> bool:
    """Whether x W^T can be, and is worth, a split product; if they are never possible here, the log says so once."""
    if is_compiling() or not is_as_wide(x, module) or type(module.weight) is not nn.Parameter:
        return False  # a weight that is not a parameter is computed anew each time
    if x.dtype != torch.float32 or not fits(x, module) or autocast_settings("cpu")["enabled"]:
        warn_once("they are for float32 on a CPU")
        return False
    if not native.has_linear():
        warn_once("this machine has no AMX, or no compiler for it")
        return False
    is_large = math.prod(x.shape[:-1]) >= FEWEST_SPLIT_ROWS and min(module.weight.shape) >= SMALLEST_SPLIT_WIDTH
    return is_large and not native.is_watched()


def shares_input(x: Tensor, modules: Sequence[nn.Linear]) -> bool:
    """Whether products of x with several weights are better made by `joint_product`: on a CPU under autocast."""
    is_plain_input = type(x) is Tensor and x.device.type == "cpu" and x.dtype in native.DTYPES
    if not is_plain_input or len(modules) < 2 or is_compiling() or not autocast_settings("cpu")["enabled"]:
        return False
    if native.is_watched() or not all(is_ordinary(module) and is_as_wide(x, module) for module in modules):
        return False
    parameters = [parameter for module in modules for parameter in (module.weight, module.bias)]
    return all(p is not None and p.dtype in native.DTYPES for p in parameters)


def joint_product(x: Tensor, modules: Sequence[nn.Linear], heads: int) -> tuple[Tensor, ...]:
    """x W^T + b with the weights of several modules at once, for autocast, which would convert x for each of them.

    In the product the modules' parts of a head stand side by side, so that sentences and heads are one dimension of
    the attention's products without a copy.

    Args:
        x: (T, B, C_in).
        modules: of the same C_out.
        heads: H.

    Returns:
        (T, B, H, C_out / H) of each.
    """
    dtype = autocast_settings("cpu")["dtype"]

    def side_by_side(parameters: list[Tensor]) -> Tensor:
        by_head = [p.to(dtype).view(heads, -1, *p.shape[1:]) for p in parameters]
        return torch.stack(by_head, 1).flatten(0, 2)

    weight, bias = side_by_side([m.weight for m in modules]), side_by_side([m.bias for m in modules])
    product = F.linear(x.to(dtype), weight, bias)
    return product.view(*x.shape[:-1], heads, len(modules), -1).unbind(-2)


def suits_few_rows(modules: Sequence[nn.Linear], rows: int) -> bool:
    """Whether the products are `native.FewRows`'s."""
    return rows < FEWEST_ROWS and all(native.suits(m.weight, *native.DTYPES) for m in modules)


def has_products(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies numbers of this dtype; torch widens those of bfloat16 else, one by one."""
    operations = torch.ops.mkldnn
    asks = torch.backends.mkldnn.is_available() and hasattr(operations, "_is_mkldnn_bf16_supported")
    return dtype != torch.bfloat16 or not asks or operations._is_mkldnn_bf16_supported()


def is_ordinary(module: nn.Module) -> bool:
    """Whether a module's output is x W^T + b and nobody waits for it: no wrapper, hook or computed weight."""
    parameters = (getattr(module, name, None) for name in ("weight", "bias"))
    is_ours = type(module) in (nn.Linear, Linear) and all(p is None or type(p) is nn.Parameter for p in parameters)
    return is_ours and not (module._forward_hooks or module._forward_pre_hooks)


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
        return native.linear(x, packed(weight), None if bias is None else bias.contiguous(), len(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        rows, inputs = gradient.reshape(-1, gradient.size(-1)), x.reshape(-1, x.size(-1))
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

    12 bytes a number. Copies, also those that are pickled, begin empty. What is written to `weight.data` by hand,
    outside of an optimizer's step, is no change that torch tells: call `clear` then.
    """

    def __init__(self):
        self.clear()

    def clear(self) -> None:
        """Forget what is packed."""
        self.version: Hashable = None
        self.of: Tensor | None = None  # whose memory nothing else can get, so that its address stands for it
        self.packed: dict[bool, Tensor] = {}

    def __reduce__(self):
        return PackedWeight, ()

    def __call__(self, weight: Tensor, transposed: bool = False) -> Tensor:
        """Return `native.pack` of the weight, or of its transpose."""
        # what fairseq's optimizers write to `weight.data`, and torch's fused ones, is no new version to torch
        version = weight.data_ptr(), weight._version, updates
        if self.version != version:
            self.version, self.of, self.packed = version, weight.detach(), {}
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
