"""How a patch replaces a function: once, and recognisably."""

import functools
from collections.abc import Callable
from typing import Any


def wrap(owner: Any, name: str, patch: str, make: Callable[[Callable], Callable]) -> None:
    """Replace `owner.name` by `make(original)`, unless `patch` has done so already.

    The mark sits on the function and not in a variable of ours, so that it also holds if the plugin is imported twice
    under two names. A name that this fairseq does not have is left alone.
    """
    original = getattr(owner, name, None)
    patch = patch.rpartition(".")[2]
    done = getattr(original, "_b2t_patches", frozenset())
    if original is None or patch in done:
        return
    replacement = make(original)
    if isinstance(replacement, type):
        replacement.__name__, replacement.__qualname__ = original.__name__, original.__qualname__
    else:
        functools.update_wrapper(replacement, original)
    replacement._b2t_patches = done | {patch}
    setattr(owner, name, staticmethod(replacement) if _is_static(owner, name) else replacement)


def _is_static(owner: Any, name: str) -> bool:
    return isinstance(owner, type) and isinstance(vars(owner).get(name), staticmethod)
