"""Make an optimizer without the second or two that importing torch's compiler takes.

Without it: every training imports `torch._dynamo` when its optimizer is made, to keep the compiler out of methods that
nothing compiles.
Versions: torch 2.4 and newer.

Nothing can be compiled before `torch._dynamo` is there. Until then the methods are called as they are; later calls,
as with `--compile-layers`, keep the compiler out as torch does.
"""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import _compile
from torch.optim import Optimizer

from ..wrap import record

CACHE = "__dynamo_disable"  # where torch keeps a function's guarded form


def apply() -> None:
    for name, method in vars(Optimizer).items():
        if isinstance(method, FunctionType) and method.__code__.co_filename == _compile.__file__:
            function = method.__wrapped__
            if not hasattr(function, CACHE):
                setattr(function, CACHE, late(function))
            record(__name__, f"torch.optim.optimizer.Optimizer.{name}")


def late(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that guards itself from the compiler once there is one."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        import torch._dynamo

        setattr(function, CACHE, torch._dynamo.disable(function))
        return getattr(function, CACHE)(*args, **kwargs)

    return guarded
