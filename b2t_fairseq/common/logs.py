"""Python's log, kept as it was around imports that change it, and a warning that they cause."""

import contextlib
import logging
import warnings
from collections.abc import Iterator


def hide_warnings_of_imports() -> None:
    """Hide the warning that fairseq's own use of `torch.jit.script` causes from torch 2.14 on."""
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated")


@contextlib.contextmanager
def unchanged_logging() -> Iterator[None]:
    """Take back what is done to the root logger: some of fairseq's files call `logging.basicConfig` when imported."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
