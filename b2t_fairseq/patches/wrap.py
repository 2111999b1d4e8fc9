"""How a patch replaces a function: once, and recognisably."""

import functools
import inspect
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any

#: patch -> what it has changed in this process: "fairseq.data.data_utils.batch_by_size"
CHANGES: defaultdict[str, list[str]] = defaultdict(list)


def wrap(owner: Any, name: str, patch: str, make: Callable[[Callable], Callable]) -> None:
    """Replace `owner.name` by `make(original)`, unless `patch` has done so already.

    The mark is on the function and not in a variable of ours, so that it also holds if the plugin is imported twice
    under two names. A name that this fairseq does not have is left alone.

    Args:
        owner: the module or class that holds the function.
        name: the function's name; a class's own class methods and static methods stay what they are.
        patch: the patch's `__name__`.
        make: returns the replacement; it gets the original as a plain function.
    """
    attribute = inspect.getattr_static(owner, name, None)
    if attribute is None:
        return
    is_bound = isinstance(attribute, classmethod | staticmethod)
    original: Any = attribute.__func__ if is_bound else attribute
    marks = getattr(original, "_b2t_patches", frozenset())
    record(patch, f"{_name_of(owner)}.{name}")
    patch = _short(patch)
    if patch in marks:
        return
    replacement: Any = make(original)
    if isinstance(replacement, type):
        replacement.__name__, replacement.__qualname__ = original.__name__, original.__qualname__
    else:
        functools.update_wrapper(replacement, original)
    replacement._b2t_patches = marks | {patch}
    setattr(owner, name, type(attribute)(replacement) if is_bound else replacement)


def record(patch: str, change: str) -> None:
    """Note what a patch has changed, for `b2t-fairseq patches`; `wrap` does so itself."""
    changes = CHANGES[_short(patch)]
    if change not in changes:
        changes.append(change)


def changes_of(patch: ModuleType) -> list[str]:
    """Return what a patch has changed in this process."""
    return CHANGES.get(_short(patch.__name__), [])


def _short(patch: str) -> str:
    return patch.rpartition(".")[2]


def _name_of(owner: Any) -> str:
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__
