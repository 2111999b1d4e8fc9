"""Seams between the plugin and the installed fairseq, torch and numpy.

Each file closes one gap, says which versions have it, and exposes `apply()`, which wraps fairseq's own function in
place. Nothing here changes a model or a number that fairseq computes correctly. `apply()` runs at plugin import,
before anything else of the plugin, and a second call does nothing.
"""

from . import (
    atomic_copy,
    audio,
    batching,
    bf16,
    cpu_distributed,
    cpu_precision,
    eval_windows,
    noise,
    numpy2,
    resume_order,
    safe_loading,
    unknown_model,
    validate_task,
)
from .safe_loading import UnsafeCheckpointError, load_checkpoint

SEAMS = (
    noise,
    numpy2,
    batching,
    resume_order,
    safe_loading,
    atomic_copy,
    bf16,
    cpu_precision,
    cpu_distributed,
    unknown_model,
    validate_task,
    audio,
    eval_windows,
)

__all__ = ["SEAMS", "UnsafeCheckpointError", "apply", "load_checkpoint"]


def apply() -> None:
    """Close every gap, in the order of `SEAMS`; a second call changes nothing."""
    for seam in SEAMS:
        seam.apply()
