"""All that we change in fairseq, torch, numpy and Python, in one ordered list.

A patch is one file with `apply()`, which replaces functions in place with `wrap.wrap`. `fixes/` repairs what is broken
and changes no model and no number that fairseq computes correctly; `additions/` gives fairseq what our methods need.
The order of the list is the order of application: where two wrap the same function, the later one runs first.

Each patch's docstring has the same form, which `b2t-fairseq patches` (`listing.py`) reads:

    What the patch does.

    Without it: what happens. The list shows the first sentence.
    Versions: those that need it.
    Unnecessary: when it can be removed (additions may leave this out).

    Whatever else there is to say.

A plain `import b2t_fairseq` changes fairseq, and nothing that others in the process see: the patches `OF_THE_PROCESS`
wait for a command, be it ours or one of fairseq's with `--user-dir`.

`apply()` returns None, or why the patch is not applied here. A change that is not made by `wrap` is noted with
`wrap.record`.
"""

from types import ModuleType

from .additions import (
    admin_profiling,
    allocator,
    bundles,
    checkpoint_guard,
    connection_module,
    criterion_attention,
    damaged_data,
    divergence,
    error_lines,
    foreign_checkpoints,
    late_dynamo,
    lost_worker,
    moving_statistics,
    probe_interval,
    resume_whole,
    sensible_values,
    stop_on_sigterm,
    trust_checkpoint,
    unknown_architecture,
    update_number,
    user_dir,
    worker_agreement,
    worker_watch,
)
from .asked import is_asked
from .fixes import (
    audio,
    batching,
    bf16,
    clip_beside_gpu,
    cpu_distributed,
    cpu_precision,
    eval_windows,
    noise,
    numpy2,
    resume_order,
    safe_eval,
    safe_loading,
    unknown_model,
    validate_task,
    whole_checkpoints,
)
from .process import NOT_APPLIED, OF_THE_PROCESS, apply_one, apply_to_process
from .wrap import changes_of

__all__ = ["NOT_APPLIED", "OF_THE_PROCESS", "PATCHES", "apply", "apply_to_process"]

PATCHES: tuple[ModuleType, ...] = (
    noise,
    numpy2,
    batching,
    resume_order,
    safe_eval,
    safe_loading,
    whole_checkpoints,
    bf16,
    cpu_precision,
    clip_beside_gpu,
    cpu_distributed,
    unknown_model,
    validate_task,
    audio,
    eval_windows,
    error_lines,
    user_dir,
    connection_module,
    unknown_architecture,
    sensible_values,
    damaged_data,
    allocator,
    late_dynamo,
    checkpoint_guard,
    resume_whole,
    worker_agreement,
    worker_watch,
    lost_worker,
    probe_interval,
    admin_profiling,
    moving_statistics,
    criterion_attention,
    divergence,
    stop_on_sigterm,
    trust_checkpoint,
    foreign_checkpoints,  # sees a file before trust_checkpoint
    bundles,  # after whatever looks at a loaded checkpoint
    update_number,  # before probes and Admin's profiling
)


def apply(to_process: bool | None = None) -> None:
    """Apply the patches in the order of `PATCHES`; a second call changes nothing.

    Args:
        to_process: also those of the process; None: if a command is what imports us (`asked.py`).
    """
    to_process = is_asked() if to_process is None else to_process
    for patch in PATCHES:
        if to_process or patch not in OF_THE_PROCESS:
            apply_one(patch)
        elif not changes_of(patch):
            NOT_APPLIED[patch.__name__] = "no command has asked for it"
