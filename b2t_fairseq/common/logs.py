"""Python's log, kept as it was around imports that change it."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def unchanged_logging() -> Iterator[None]:
    """Take back what is done to the root logger: some of fairseq's files call `logging.basicConfig` when imported."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
