"""The patches that change Python's process, and not fairseq alone; and how one patch is applied."""

from types import ModuleType

from .additions import allocator, error_lines, lost_worker
from .fixes import noise

OF_THE_PROCESS: tuple[ModuleType, ...] = (noise, error_lines, allocator, lost_worker)
#: patch -> why it was not applied
NOT_APPLIED: dict[str, str] = {}


def apply_to_process() -> None:
    """Apply what changes Python's process; a second call changes nothing."""
    for patch in OF_THE_PROCESS:
        apply_one(patch)


def apply_one(patch: ModuleType) -> None:
    """Apply one patch, and note why not if it does not."""
    reason = patch.apply()
    NOT_APPLIED.pop(patch.__name__, None)
    if reason:
        NOT_APPLIED[patch.__name__] = reason
