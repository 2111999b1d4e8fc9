"""Which code wrote a checkpoint."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...checkpoints.arguments import model_argument
from . import admin, b2t, dlcl, residual, tfixup

#: each has NAME, `recognises(checkpoint)` and `translate(foreign)`
SOURCES: tuple[ModuleType, ...] = (b2t, residual, dlcl, admin, tfixup)


def source_of(checkpoint: Mapping[str, Any]) -> ModuleType | None:
    """Return which of `SOURCES` a loaded checkpoint comes from; None: from ours, from fairseq, or from elsewhere."""
    if model_argument(checkpoint, "connection_signature") is not None:
        return None  # ours, and ours have no mark of theirs
    return next((source for source in SOURCES if source.recognises(checkpoint)), None)
