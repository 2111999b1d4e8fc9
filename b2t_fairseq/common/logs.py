"""Python's log, kept as it was around imports that change it, and a warning that they cause."""

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Hide the warning that imports of fairseq's modules cause from torch 2.14 on, and no other that comes later."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated", category=FutureWarning)
        yield


@contextlib.contextmanager
def unchanged_logging() -> Iterator[None]:
    """Take back what is done to the root logger: some of fairseq's files call `logging.basicConfig` when imported."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
