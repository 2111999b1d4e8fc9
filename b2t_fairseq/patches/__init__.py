"""All that we change in fairseq, torch, numpy and Python, in one ordered list.

A patch is one file with `apply()`, which wraps a function in place by `wrap.wrap`; its docstring says what it does,
what happens without it, which versions need it and when it becomes unnecessary. `fixes/` repairs what is broken there
and changes no model and no number that fairseq computes correctly; `additions/` gives fairseq what our methods need.
The order of the list is the order of application: where two wrap the same function, the later one runs first.
"""

from types import ModuleType

from .additions import (
    admin_profiling,
    allocator,
    checkpoint_guard,
    connection_module,
    criterion_attention,
    error_lines,
    stop_on_sigterm,
    unknown_architecture,
)
from .fixes import (
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

PATCHES: tuple[ModuleType, ...] = (
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
    error_lines,
    connection_module,
    unknown_architecture,
    allocator,
    checkpoint_guard,
    admin_profiling,
    criterion_attention,
    stop_on_sigterm,
)


def apply() -> None:
    """Apply every patch in the order of `PATCHES`; a second call changes nothing."""
    for patch in PATCHES:
        patch.apply()
