"""Which checkpoint a training resumes from: the last one if it is whole, else the newest whole one of the folder."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..common.errors import UserError
from . import integrity
from .loading import load_checkpoint

LAST = "checkpoint_last.pt"  # fairseq's default of --restore-file
SAVED = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+)\.pt")  # the names that fairseq's training writes


class Choice(NamedTuple):
    """A checkpoint to resume from, and what the user has to know of it (or None: nothing unusual)."""

    path: str
    note: str | None


def choose(folder: str | Path) -> Choice | None:
    """Return the checkpoint of a `--save-dir` to resume from; None if there is none at all.

    Raises:
        UserError: there are checkpoints, but none of them is whole.
    """
    last = Path(folder) / LAST
    why = _damage(last) if last.exists() else f"{last} is missing"
    if why is None:
        return Choice(str(last), None)
    places = {path: place for path in _others(folder) if (place := _place(path)) is not None}
    for path in sorted(places, key=lambda path: (places[path], path.name), reverse=True):
        if _damage(path) is None:
            otherwise = "--restore-file FILE or another --save-dir to do otherwise"
            note = f"{why}; resuming from {path} (update {places[path][0]}), the newest whole checkpoint; {otherwise}"
            return Choice(str(path), note)
    if not last.exists() and not _others(folder):
        return None
    raise UserError(
        f"{why}, and none of the other checkpoints in {folder} is whole: "
        "name a whole one by --restore-file, or start again in another --save-dir"
    )


def require_file(option: str, path: str | Path, folder: str | Path) -> None:
    """Refuse a checkpoint given by an option that is missing, a folder, or damaged.

    Raises:
        UserError: it is.
    """
    if Path(path).is_dir():
        raise UserError(f"{option} {path}: this is a folder; name one of its checkpoint files")
    if not Path(path).is_file():
        there = Path(folder) / Path(path).name
        hint = f"do you mean {there}?" if there.is_file() else "check the path"
        raise UserError(f"{option} {path}: no such file; {hint}")
    if why := _damage(Path(path)):
        raise UserError(f"{why}; name another file by {option}")


def _others(folder: str | Path) -> list[Path]:
    if not Path(folder).is_dir():
        return []
    return [path for path in Path(folder).iterdir() if SAVED.fullmatch(path.name) and path.name != LAST]


def _damage(path: Path) -> str | None:
    """Why a file cannot be resumed from; None if it can."""
    try:
        if not integrity.check(path):  # without a digest only reading tells
            _look(path)
    except UserError as error:
        return str(error).rstrip(".")
    except OSError as error:
        return f"{path}: cannot be read ({(error.strerror or str(error)).lower()})"
    return None


def _look(path: Path) -> dict[str, Any]:
    return load_checkpoint(path, mapped=integrity.is_archive(path))


def _place(path: Path) -> tuple[int, int, int] | None:
    """How far a training had come: its updates, epoch and batches; None if the file does not say it."""
    try:
        state = _look(path)
        iterator = state["extra_state"]["train_iterator"]
        updates = state["optimizer_history"][-1]["num_updates"]
        return updates, iterator["epoch"], iterator.get("iterations_in_epoch", 0)
    except (UserError, OSError, KeyError, IndexError, TypeError):
        return None
