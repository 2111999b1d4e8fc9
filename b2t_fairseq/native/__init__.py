"""Operations in C++ that save passes over memory which torch's own take, on a CPU; compiled at first use.

Nothing depends on them: where `suits` says no (another device or dtype, no compiler), callers use torch's operations.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .build import FLOAT, INT, INTEGER, POINTER, kernels

HEAD_WIDTHS = (16, 32, 64, 128)  # that attention is compiled for
DTYPES = (torch.float32, torch.bfloat16)
LANES = 16  # at most, of vectors.h
MOST_ROWS, MOST_COLUMNS = 64 * 32, 16 * 32  # that products.cpp packs of x at a time

__all__ = [
    "DTYPES",
    "FewRows",
    "HEAD_WIDTHS",
    "attend_to_ancestors",
    "attend_to_source",
    "dropout",
    "Kept",
    "has_linear",
    "kernels",
    "linear",
    "log_sums",
    "masked_softmax",
    "masked_softmax_backward",
    "pack",
    "padded_keys",
    "rounded_up",
    "softmax_minus",
    "suits",
]


class Step(ctypes.Structure):
    """kernels.cpp's struct of the same name."""

    _fields_ = [
        *((name, POINTER) for name in ("q", "new_k", "new_v")),
        ("stride", INTEGER),
        *((name, POINTER) for name in ("k", "v")),
        *((name, INTEGER) for name in ("capacity", "length", "written")),
        *((name, POINTER) for name in ("index", "hidden")),
        *((name, INTEGER) for name in ("sentences", "beam", "heads", "d")),
        ("out", POINTER),
    ]


class Softmax(ctypes.Structure):
    """training.cpp's struct of the same name."""

    _fields_ = [
        ("scores", POINTER),
        ("scale", FLOAT),
        ("mask", POINTER),
        *((name, INTEGER) for name in ("mask_sentence", "mask_row", "batch", "heads", "queries", "keys")),
        ("bits", POINTER),
        ("threshold", INT),
        ("kept", FLOAT),
        ("norms", POINTER),
    ]


def suits(x: Tensor, *dtypes: torch.dtype) -> bool:
    """Whether x is on the CPU, has one of the dtypes, and the kernels are there and would not be missed by anyone."""
    is_ordinary = type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" and x.dtype in dtypes
    return is_ordinary and not is_watched() and kernels() is not None


def is_watched() -> bool:
    """Whether torch follows operations, which the kernels are not: in a trace, or under a mode or a transformation."""
    return bool(
        torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack()
        or torch.autograd.forward_ad._current_level >= 0
    )


def attend_to_ancestors(
    qkv: Tensor, keys: Tensor, values: Tensor, new: int, length: int, index: Tensor | None
) -> Tensor:
    """Self-attention of the newest position of each row: softmax(QK^T / sqrt(d_head)) V.

    Args:
        qkv: (1, R, 3C), the rows' queries, and their newest keys and values.
        keys, values: (S, H, capacity, d_head in `HEAD_WIDTHS`), each contiguous; in qkv the rows of a sentence
            stand beside each other.
        new: the position that the keys and values of a sentence's first row are written to, the other rows' behind it.
        length: positions a row attends to.
        index: (R, length) int64, their numbers for each row; None: the first ones.

    Returns:
        (1, R, C).
    """
    return attend(qkv, keys, values, qkv.size(2) // 3, length=length, capacity=keys.size(2), written=new, index=index)


def attend_to_source(q: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> Tensor:
    """Cross-attention of one position of each row: softmax(QK^T / sqrt(d_head)) V.

    Args:
        q: (1, R, C).
        keys: `padded_keys`, or (S, H, d_head, T) of them; the rows of a sentence stand beside each other in q.
        values: (S, H, T, d_head in `HEAD_WIDTHS`), contiguous.
        hidden: (S, T) bool, True at positions that take no part; None: all do.

    Returns:
        (1, R, C).
    """
    return attend(q, keys, values, q.size(2), length=values.size(2), capacity=keys.stride(2), hidden=hidden)


def attend(qkv: Tensor, keys: Tensor, values: Tensor, model_width: int, **fields: Tensor | int | None) -> Tensor:
    """Run the kernel on these tensors and the other fields of its struct; what stands behind the queries is new."""
    pointers = {name: x.data_ptr() if isinstance(x, Tensor) else x for name, x in fields.items() if x is not None}
    sentences, heads = keys.shape[:2]
    out = qkv.new_empty(1, qkv.size(1), model_width)
    step = Step(
        q=qkv.data_ptr(), stride=qkv.size(2), k=keys.data_ptr(), v=values.data_ptr(), out=out.data_ptr(), **pointers
    )
    step.sentences, step.beam, step.heads, step.d = sentences, qkv.size(1) // sentences, heads, model_width // heads
    if qkv.size(2) > model_width:
        step.new_k = step.q + model_width * qkv.element_size()
        step.new_v = step.new_k + model_width * qkv.element_size()
    kernels().attend(ctypes.byref(step), qkv.dtype == torch.bfloat16, torch.get_num_threads())
    return out


def padded_keys(k: Tensor) -> Tensor:
    """(S, H, T, d_head) -> (S, H, d_head, whole vectors): the positions in a row, and behind them at least one more."""
    keys = k.new_zeros(*k.shape[:2], k.size(3), padded_length(k.size(2)))
    keys[..., : k.size(2)] = k.mT
    return keys


def padded_length(positions: int) -> int:
    """Return the length of a row of `padded_keys`."""
    return (positions // LANES + 1) * LANES


class Kept(NamedTuple):
    """A mask of dropout, 0 and `scale`.

    Attributes:
        bits: int16, at least one for each number.
        threshold: numbers are kept whose bits are not below it.
        scale: what is kept is multiplied by it.
    """

    bits: Tensor
    threshold: int
    scale: float


def dropout(x: Tensor, kept: Kept, dtype: torch.dtype) -> Tensor:
    """x times the mask, x contiguous; both its dtype and the result's are of `DTYPES`."""
    y = torch.empty_like(x, dtype=dtype)
    given = x.data_ptr(), x.dtype == torch.bfloat16, kept.bits.data_ptr(), x.numel(), kept.threshold, kept.scale
    kernels().dropout(*given, y.data_ptr(), dtype == torch.bfloat16, torch.get_num_threads())
    return y


def masked_softmax(scores: Tensor, scale: float, mask: Tensor | None, kept: Kept | None) -> tuple[Tensor, Tensor]:
    """softmax(scale * scores + mask) over the last dimension, then dropout.

    Args:
        scores: (B, H, T, S), contiguous, of `DTYPES`.
        scale: what they are multiplied by.
        mask: (B or 1, 1, T or 1, S) float32; None: 0.
        kept: of the dropout; None: there is none.

    Returns:
        The probabilities after dropout, of the scores' shape and dtype; for each row its highest masked score, and
        one over the sum of the exponentials above it, float32 (B, H, T, 2).
    """
    norms = scores.new_empty(*scores.shape[:3], 2, dtype=torch.float32)
    return run_softmax(scores, scale, mask, kept, norms, None), norms


def masked_softmax_backward(
    gradient: Tensor, scores: Tensor, scale: float, mask: Tensor | None, kept: Kept | None, norms: Tensor
) -> Tensor:
    """Return the gradient of `masked_softmax`'s scores; `gradient`: contiguous, of their shape and dtype."""
    return run_softmax(scores, scale, mask, kept, norms, gradient)


def run_softmax(
    scores: Tensor, scale: float, mask: Tensor | None, kept: Kept | None, norms: Tensor, gradient: Tensor | None
) -> Tensor:
    """Run the kernel forward, or backward if there is a gradient."""
    (batch, heads, queries, keys), y = scores.shape, torch.empty_like(scores)
    x = Softmax(scores.data_ptr(), scale, batch=batch, heads=heads, queries=queries, keys=keys, norms=norms.data_ptr())
    if mask is not None:
        mask = mask.expand(batch, 1, queries, keys)  # with strides of 0 where it is the same for all
        if mask.stride(3) != 1:
            mask = mask.contiguous()
        x.mask, x.mask_sentence, x.mask_row = mask.data_ptr(), mask.stride(0), mask.stride(2)
    if kept is not None:
        x.bits, x.threshold, x.kept = kept.bits.data_ptr(), kept.threshold, kept.scale
    pointer = None if gradient is None else gradient.data_ptr()
    is_bf16 = scores.dtype == torch.bfloat16
    kernels().softmax(ctypes.byref(x), is_bf16, pointer, y.data_ptr(), torch.get_num_threads())
    return y


def log_sums(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each row of x (N, V): log sum_j e^x_j, sum_j x_j, and log sum_j e^x_j - x_target.

    Args:
        x: of `DTYPES`.
        target: (N,) int64.

    Returns:
        (N,) each, float32.
    """
    x, target = x.contiguous(), target.contiguous()
    rows, width = x.shape
    norms, totals, nll = x.new_empty(3, rows, dtype=torch.float32)
    given, results = (x.data_ptr(), x.dtype == torch.bfloat16), (norms.data_ptr(), totals.data_ptr(), nll.data_ptr())
    kernels().log_sums(*given, target.data_ptr(), rows, width, *results, torch.get_num_threads())
    return norms, totals, nll


def softmax_minus(x: Tensor, target: Tensor, norms: Tensor, factors: Tensor, share: float, of_target: float) -> Tensor:
    """factors (e^(x - norms) - share), and factors * of_target less at the targets: (N, V).

    Args:
        x: (N, V), of `DTYPES`, as the result.
        target: (N,) int64.
        norms, factors: (N,) float32, one for each row.
    """
    x, target, norms, factors = (t.contiguous() for t in (x, target, norms, factors))
    y, pointers = torch.empty_like(x), [t.data_ptr() for t in (target, norms, factors)]
    given = x.data_ptr(), x.dtype == torch.bfloat16, *pointers, share, of_target
    kernels().softmax_minus(*given, *x.shape, y.data_ptr(), torch.get_num_threads())
    return y


class FewRows:
    """x W^T + bias, and then ReLU if asked for, in the time of reading W: for few rows, and no gradients.

    Args:
        modules: their weights, of one C_in and one of `DTYPES`, as their biases, stand one below the other in W.
        relu: max(0, x W^T + b).

    Raises:
        ValueError: the modules do not fit together.
    """

    def __init__(self, modules: Sequence[nn.Linear], relu: bool):
        self.weights = [module.weight.detach().contiguous() for module in modules]
        self.biases = [None if module.bias is None else module.bias.detach().contiguous() for module in modules]
        kinds = {(w.dtype, w.size(1)) for w in self.weights}
        if len(kinds) > 1 or {b.dtype for b in self.biases if b is not None} - {self.weights[0].dtype}:
            raise ValueError(f"weights and biases of one dtype and width are needed: {modules}")
        ((self.dtype, self.inner),) = kinds
        self.width, self.relu = sum(map(len, self.weights)), relu

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., sum of C_out), of W's dtype.

        Raises:
            ValueError: x is not on the CPU, or has another width.
        """
        if x.device.type != "cpu" or x.size(-1) != self.inner:
            raise ValueError(f"x is {tuple(x.shape)} on {x.device}: (..., {self.inner}) on the CPU is needed")
        x = x.to(self.dtype).contiguous()  # under autocast x may be in bfloat16
        *shape, inner = x.shape
        y = x.new_empty(*shape, self.width)
        rows, of_x, out = math.prod(shape), x.data_ptr(), y.data_ptr()
        multiply, is_bf16, threads = kernels().few_rows, self.dtype == torch.bfloat16, torch.get_num_threads()
        for weight, bias in zip(self.weights, self.biases, strict=True):
            pointers = of_x, weight.data_ptr(), None if bias is None else bias.data_ptr()
            multiply(*pointers, is_bf16, self.relu, rows, inner, len(weight), self.width, out, threads)
            out += len(weight) * y.element_size()
        return y


@functools.lru_cache(maxsize=1)
def has_linear() -> bool:
    """Whether `linear` is there: it needs AMX."""
    library = kernels()
    return library is not None and bool(library.has_linear())


def pack(weight: Tensor, transposed: bool = False) -> Tensor:
    """Pack a weight W (C_out, C_in) in float32, or W^T if it is transposed, as `linear` takes it: in bfloat16."""
    weight = weight.detach().contiguous()
    rows, columns = weight.shape
    packed = weight.new_empty(3 * rounded_up(rows) * rounded_up(columns), dtype=torch.bfloat16)
    kernels().pack(weight.data_ptr(), rows, columns, transposed, packed.data_ptr(), torch.get_num_threads())
    return packed


def linear(
    x: Tensor, packed: Tensor, bias: Tensor | None, width: int, relu: bool = False, transposed: bool = False
) -> Tensor:
    """x W^T + bias with float32's accuracy, and then ReLU if asked for.

    Args:
        x: (..., C_in); or if it is transposed x^T (C_in, rows).
        packed: `pack(W)`.
        bias: (C_out,).
        width: C_out.
        transposed: whether x is.

    Returns:
        (..., C_out), or (rows, C_out).
    """
    x = x.float().contiguous()  # under autocast it may be in bfloat16
    *shape, inner = reversed(x.shape) if transposed else x.shape
    rows = math.prod(shape)
    y = x.new_empty(*shape, width)
    packed_at_a_time = min(rounded_up(rows), MOST_ROWS) * min(rounded_up(inner), MOST_COLUMNS)
    scratch = x.new_empty(3 * packed_at_a_time, dtype=torch.bfloat16)
    given = x.data_ptr(), transposed, packed.data_ptr(), None if bias is None else bias.data_ptr(), relu
    kernels().linear(*given, rows, inner, width, scratch.data_ptr(), y.data_ptr(), torch.get_num_threads())
    return y


def rounded_up(n: int) -> int:
    """To a multiple of 32, the rows and columns of a block of AMX's tiles."""
    return -(-n // 32) * 32
