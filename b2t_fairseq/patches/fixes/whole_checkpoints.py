"""Save a checkpoint whole or not at all, and never load a damaged one.

Without it: a disk that is full for a moment leaves files that begin with garbage in place of the good ones.
Versions: every fairseq so far; any torch.
Unnecessary: once fairseq writes each try to a file of its own, syncs, checks and renames it.

All three tries of fairseq write into the same open file, and nothing is synced or checked. `checkpoint_last.pt` and
`checkpoint_best.pt` are copied byte by byte over the old ones: a job killed meanwhile leaves half a file. A changed bit
in a file is loaded without a word. The meters of `--eval-bleu` are numpy arrays, which plain safe unpickling refuses.

`checkpoints/integrity.py` writes, copies and checks. A save that fails raises, so fairseq never comes to the deletion
of older files. With `--write-checkpoints-asynchronously` a thread writes; one more of the older files is kept then.
"""

import copy
import io
import threading
from typing import Any

import numpy as np
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from fairseq.logging import meters

from ...checkpoints import integrity
from ...common.errors import UserError
from ..wrap import wrap

KEPT = ("keep_interval_updates", "keep_last_epochs", "keep_best_checkpoints")

_writing: list["_Writer"] = []  # the asynchronous save in progress


def apply() -> None:
    wrap(checkpoint_utils, "torch_persistent_save", __name__, _make_save)
    wrap(checkpoint_utils, "save_checkpoint", __name__, _make_save_checkpoint)
    wrap(PathManager, "async_close", __name__, _make_async_close)
    wrap(PathManager, "copy", __name__, _make_copy)
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_load)
    wrap(checkpoint_utils, "load_ema_from_checkpoint", __name__, _make_load)
    wrap(meters.AverageMeter, "load_state_dict", __name__, _make_load_meter)


def _make_save(original):
    def torch_persistent_save(obj, filename, async_write: bool = False):
        if not PathManager.supports_rename(filename):  # a remote store has its own rules
            return original(obj, filename, async_write)
        obj = _with_plain_numbers(obj)
        if not async_write:
            return integrity.write(obj, filename)
        _wait()
        _writing.append(_Writer(obj, filename))
        return None

    return torch_persistent_save


class _Writer(threading.Thread):
    """Writes one checkpoint, as it is now, while the training continues."""

    def __init__(self, obj: Any, filename: str):
        super().__init__(name=f"saves {filename}")
        memory = io.BytesIO()
        integrity.dump(obj, memory)
        self.content, self.filename, self.error = memory.getbuffer(), filename, None
        self.start()

    def run(self) -> None:
        try:
            integrity.place(self.filename, lambda file: file.write(self.content))
        except Exception as error:
            self.error = error


def _wait() -> None:
    """Wait for the asynchronous save in progress; its error is raised here."""
    while _writing:
        writer = _writing.pop()
        writer.join()
        if writer.error is not None:
            raise writer.error


def _make_async_close(original):
    def async_close() -> bool:
        _wait()
        return original()

    return async_close


def _make_save_checkpoint(original):
    def save_checkpoint(cfg, trainer, epoch_itr, val_loss):
        if cfg.write_checkpoints_asynchronously:  # the newest file is not there yet when older ones are deleted
            cfg = copy.deepcopy(cfg)
            for option in KEPT:
                number = getattr(cfg, option)
                setattr(cfg, option, number + 1 if number > 0 else number)
        return original(cfg, trainer, epoch_itr, val_loss)

    return save_checkpoint


def _make_copy(original):
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return original(src_path, dst_path, overwrite)
        integrity.copy(src_path, dst_path)
        return True

    return copy


def _make_load(original):
    def load(path, *args, **kwargs):
        if not PathManager.path_requires_pathmanager(path) and PathManager.isfile(path):
            integrity.check(path)
        try:
            return original(path, *args, **kwargs)
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:
            if not _raised_by_torch(error):
                raise
            why = (str(error).splitlines() or [""])[0]
            raise UserError(f"{path}: not a whole checkpoint file ({type(error).__name__} {why})") from error

    return load


def _raised_by_torch(error: Exception) -> bool:
    """Whether `torch.load` refused the file, rather than fairseq what is in it."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").split(".")[0] == "torch"


def _with_plain_numbers(state: Any) -> Any:
    """Return the checkpoint with plain numbers and lists for numpy's in its meters and scores; the values stay."""
    if not isinstance(state, dict) or not isinstance(state.get("extra_state"), dict):
        return state
    extra = {k: _plain(v) if k in ("metrics", "val_loss", "best") else v for k, v in state["extra_state"].items()}
    return {**state, "extra_state": extra}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        new = copy.copy(value)
        new.update((k, _plain(v)) for k, v in value.items())
        return new
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _make_load_meter(original):
    def load_state_dict(self, state_dict):
        original(self, state_dict)
        for name in ("val", "sum"):  # a meter calculates with arrays
            if isinstance(getattr(self, name), list):
                setattr(self, name, np.array(getattr(self, name)))

    return load_state_dict
