"""Files and folders that are whole or absent, whatever interrupts the work.

One way each: `write_atomically` for a small text, `replacing` for a file that is filled piece by piece,
`all_or_nothing` for a folder, `locked` for a folder that one process at a time may work in, `read_record` for our own
JSON records, `disk_full_as_one_line` around work that may fill the disk.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which becomes `path` if the block succeeds, and is removed if it fails.

    The temporary name is this process's own: the machines of one training share a folder, and may write the same file
    at the same moment.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file so that no reader ever sees half of it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder `FOLDER.partial`, which becomes `folder` if the block succeeds.

    What an interrupted run left under that name is removed first.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    os.replace(partial, folder)


@contextlib.contextmanager
def locked(folder: Path, who: str, option: str = "--output") -> Iterator[TextIO]:
    """Make `folder` and keep a second process out of it; the lock goes when this process ends, however it ends.

    Args:
        folder: what to lock.
        who: what works there, for the message: "quickstart".
        option: the option that names the folder.

    Raises:
        UserError: the folder cannot be written, or another process holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (held until the block ends)
    except OSError as error:
        raise UserError(
            f"{option} {folder} cannot be written ({(error.strerror or str(error)).lower()}): name another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another {who} is working in {folder}: wait for it or stop it, or use another {option}"
            ) from error
        yield lock


def read_record(path: str | os.PathLike) -> dict[str, Any] | None:
    """Read one of our JSON records; None if there is none. A damaged one counts as absent, and a line says so."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        print(f"note: {path} is damaged and ignored ({type(error).__name__}: {reason})", file=sys.stderr)
        return None
    if not isinstance(record, dict):
        print(f"note: {path} is damaged and ignored (it must hold names and values)", file=sys.stderr)
        return None
    return record


def write_record(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Write one of our JSON records, atomically."""
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def disk_full_as_one_line(place: Path) -> Iterator[None]:
    """Turn a full disk or an exhausted quota into a `UserError`: it is not a bug.

    Raises:
        UserError: no space left at `place`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise UserError(
            f"{place}: no space left (disk or quota): make room, then run the same command again to resume"
        ) from error
