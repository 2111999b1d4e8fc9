"""Resume from a whole checkpoint, and never start from scratch beside checkpoints.

Without it: a damaged `checkpoint_last.pt` ends the training with a traceback, although others are whole; without
`checkpoint_last.pt` (a full disk leaves such a folder) or with a `--restore-file` that does not exist, training starts
again without a word, and its checkpoints replace the old ones.
Versions: every fairseq so far.

Rank 0 looks at the folder, and sends the others what it has chosen.
"""

import copy
import logging
from typing import Any

from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager

from ...checkpoints import integrity, resuming
from ...common.errors import UserError
from ..wrap import wrap

logger = logging.getLogger(__name__)


def apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint", __name__, _make)


def _make(original):
    def load_checkpoint(cfg, trainer, **passthrough_args):
        # with a suffix each rank has a file of its own, which stock code finds
        if trainer.checkpoint_suffix or PathManager.path_requires_pathmanager(cfg.save_dir):
            return original(cfg, trainer, **passthrough_args)
        chosen, note, error = _agreed(cfg, trainer)
        if error is not None:
            raise UserError(error)
        if note is not None:
            logger.warning(note)
        if chosen is not None:
            cfg = copy.deepcopy(cfg)  # the given one is saved with every checkpoint
            cfg.restore_file, cfg.finetune_from_model = chosen, None
        return original(cfg, trainer, **passthrough_args)

    return load_checkpoint


def _agreed(cfg: Any, trainer: Any) -> tuple[str | None, str | None, str | None]:
    """Return what rank 0 has decided: another file to resume from, a note about it, an error."""
    if trainer.data_parallel_world_size == 1:
        return _decided(cfg)
    mine = _decided(cfg) if trainer.data_parallel_rank == 0 else None
    group, device = trainer.data_parallel_process_group, trainer.device
    return tuple(distributed_utils.broadcast_object({"decided": mine}, 0, group, device)["decided"])


def _decided(cfg: Any) -> tuple[str | None, str | None, str | None]:
    try:
        return (*_choose(cfg), None)
    except UserError as error:
        return None, None, str(error)


def _choose(cfg: Any) -> tuple[str | None, str | None]:
    integrity.remove_leftovers(cfg.save_dir)
    if cfg.restore_file != resuming.LAST:
        _require("--restore-file", cfg.restore_file, cfg)
        return None, None
    choice = resuming.choose(cfg.save_dir)
    if choice is not None:
        return (choice.path, choice.note) if choice.note else (None, None)
    for option in ("continue_once", "finetune_from_model"):
        if getattr(cfg, option, None) is not None:
            _require(f"--{option.replace('_', '-')}", getattr(cfg, option), cfg)
            break
    return None, None


def _require(option: str, path: str, cfg: Any) -> None:
    if not PathManager.path_requires_pathmanager(path):
        resuming.require_file(option, path, cfg.save_dir)
