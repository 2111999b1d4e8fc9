"""numpy arrays and scalars out of a checkpoint, rebuilt by us: numbers only, as many as there are bytes.

numpy's own `dtype.__setstate__` believes whatever offsets and flags a file gives it, and reads and writes at places of
the file's choice. The safe unpickler finds the functions below under numpy's names instead (`replacements`).
"""

import math
from pickle import UnpicklingError
from typing import Any

import numpy as np

#: the data types: truth values, whole numbers, floating point numbers
CODES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
MOST_DIMENSIONS = 32


class PlainType:
    """Stands for `numpy.dtype` while a file is read."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True):
        if not isinstance(code, str) or code not in CODES:
            raise UnpicklingError(f"a numpy array of '{code}', and only plain numbers are taken")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain or type(state[1]) is not str or state[1] not in ("<", ">", "|", "="):
            raise UnpicklingError("a numpy data type with fields, and only plain numbers are taken")
        self.order = state[1]

    def numbers(self, count: int, raw: Any) -> np.dtype:
        """Return numpy's own data type, if `raw` holds exactly `count` numbers of it."""
        kind = np.dtype(self.code).newbyteorder(self.order)
        if type(raw) is not bytes or len(raw) != count * kind.itemsize:
            raise UnpicklingError(f"a numpy array whose size is not that of its {count} numbers")
        return kind


class PlainArray(np.ndarray):
    """An array of a checkpoint; it is saved as numpy's own.

    numpy fills the empty array that `reconstruct` gives it in place, so this cannot be replaced afterwards.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> "PlainArray":
        raise UnpicklingError("a numpy array that is made by hand, which no checkpoint needs")

    def __setstate__(self, state: Any) -> None:
        # only once: what was made of the first content in between would keep pointing there
        if getattr(self, "_filled", False) or not isinstance(state, tuple) or len(state) != 5:
            raise UnpicklingError("a numpy array that is filled in an unusual way")
        _, shape, kind, fortran, raw = state
        sizes_are_numbers = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not sizes_are_numbers or len(shape) > MOST_DIMENSIONS or type(kind) is not PlainType:
            raise UnpicklingError("a numpy array without a plain shape and data type")
        self._filled = True
        super().__setstate__((1, shape, kind.numbers(math.prod(shape), raw), bool(fortran), raw))

    def __reduce__(self) -> tuple:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def reconstruct(kind: Any, shape: Any, code: Any) -> PlainArray:
    """Return an empty array, to be filled; stands for numpy's `_reconstruct`."""
    if kind is not PlainArray or shape != (0,):
        raise UnpicklingError("a numpy array of an unknown class")
    return np.ndarray.__new__(PlainArray, (0,), np.int8)


def scalar(kind: Any, raw: Any) -> np.generic:
    """Return a number of numpy's; stands for numpy's `scalar`."""
    if type(kind) is not PlainType:
        raise UnpicklingError("a number of numpy's without a plain data type")
    return np.frombuffer(raw, kind.numbers(1, raw))[0]


def no_bytes() -> bytes:
    """Return the content of an empty array; stands for `bytes`, which would take any size."""
    return b""


def replacements() -> list[tuple[Any, str]]:
    """Return the pairs for `torch.serialization.add_safe_globals`: ours, under the names of every numpy's."""
    moved = {"_reconstruct": reconstruct, "scalar": scalar}
    named = [(f, f"numpy.{core}.multiarray.{n}") for core in ("core", "_core") for n, f in moved.items()]
    return [(PlainArray, "numpy.ndarray"), (PlainType, "numpy.dtype"), (no_bytes, "builtins.bytes"), *named]
