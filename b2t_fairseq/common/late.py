"""Import what fairseq needs for two of its tasks only when it is called: scikit-learn and scipy.stats.

fairseq imports them at every start, for the scores of sentence classification and of speakers. They take a quarter of
the start of a command.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

#: modules that fairseq imports at its start, and calls in `sentence_prediction` and `audio_classification`
MODULES = ("sklearn", "sklearn.metrics", "scipy.stats")  # not scipy: others look there for more


class LateModule(ModuleType):
    """Stands in for a module while others import functions from it; each is looked up when it is called."""

    __path__: list[str] = []  # a package, as far as an import can tell

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if f"{self.__name__}.{name}" in MODULES:
            return sys.modules[f"{self.__name__}.{name}"]
        return lambda *given, **named: getattr(importlib.import_module(self.__name__), name)(*given, **named)


@contextlib.contextmanager
def late_imports() -> Iterator[None]:
    """Let `MODULES` be imported late by what is imported inside; those that are there already stay as they are."""
    if any(name in sys.modules for name in MODULES):
        yield
        return
    stand_ins = {name: LateModule(name) for name in MODULES}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
