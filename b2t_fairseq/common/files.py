"""Files and folders that are whole or absent, whatever interrupts the work.

One way each: `write_atomically` for a small text, `replacing` for a file that is filled piece by piece,
`check_writable` for its place before the work, `all_or_nothing` for a folder, `locked` for a folder that one process at
a time may work in, `write_record`, `read_record` and `read_records` for our own JSON, `disk_full_as_one_line` around
work that may fill the disk.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last by `ulimit -f`, or on a small file system
Types = type | tuple[type, ...]


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which becomes `path` if the block succeeds, and is removed if it fails.

    The temporary name is this thread's own: the machines of one training share a folder, and may write the same file
    at the same moment. Errors name `path`, which the user knows, and not the temporary file. What is no regular file,
    as a pipe or /dev/stdout, cannot be replaced.

    Raises:
        UserError: no space left, or `path` is a device, a pipe, or a name for an open file.
        OSError: `path` cannot be written.
    """
    path = Path(path)
    if is_special(path):
        raise UserError(f"{path}: no regular file, so it cannot be replaced: name a file, or one that is not there yet")
    owner = f"{socket.gethostname()}-{os.getpid()}-{threading.get_native_id()}"
    temporary = path.with_name(f"{path.name}.{owner}.tmp")
    try:
        with disk_full_as_one_line(path):
            yield temporary
            os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None and os.fspath(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise


def is_special(path: Path) -> bool:
    """Return whether `path` is a device, a pipe, or a name in /dev or /proc for what the process has open."""
    places = (os.path.realpath(path.parent), os.readlink(path)) if path.is_symlink() else ()
    is_open_file = any(place.startswith("/proc/") for place in places)
    return is_open_file or (path.exists() and not path.is_file() and not path.is_dir())


def check_writable(path: str | os.PathLike, option: str) -> None:
    """Refuse, before work that takes long, a file that could not be written at its end.

    Args:
        path: what `replacing` will get.
        option: the option that names it, for the message.

    Raises:
        UserError: no such folder, one that cannot be written, or no regular file.
    """
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise UserError(f"{option} {path}: there is no such folder; make it first")
    if path.is_dir() or is_special(path):
        raise UserError(f"{option} {path}: no regular file, so it cannot be replaced: name a file")
    try:
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({reason(error)}): name a file elsewhere") from error


def write_atomically(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file so that no reader ever sees half of it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def all_or_nothing(folder: Path, resumes: bool = False) -> Iterator[Path]:
    """Yield a folder `FOLDER.partial`, which becomes `folder` if the block succeeds.

    Args:
        folder: what to make; one that is there already is replaced.
        resumes: keep what an interrupted run left in `FOLDER.partial`; otherwise the work starts from an empty folder.
    """
    partial = folder.with_name(folder.name + ".partial")
    if not resumes:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=resumes)
    with disk_full_as_one_line(folder):
        yield partial
    put_in_place(partial, folder)


def put_in_place(new: Path, folder: Path) -> None:
    """Rename the finished folder `new` to `folder`; an older one there is removed when the new one has its name."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path, who: str, option: str = "--output") -> Iterator[TextIO]:
    """Make `folder` and keep a second process out of it; the lock goes when this process ends, however it ends.

    Args:
        folder: what to lock.
        who: what works there, for the message: "quickstart".
        option: the option that names the folder.

    Raises:
        UserError: the folder cannot be written or locked, or another process holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (held until the block ends)
    except OSError as error:
        raise UserError(f"{option} {folder} cannot be written ({reason(error)}): name another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another {who} is working in {folder}: wait for it or stop it, or use another {option}"
            ) from error
        except OSError as error:  # some network file systems have no locks
            raise UserError(
                f"{option} {folder} cannot be locked ({reason(error)}): name a folder on another disk"
            ) from error
        yield lock


def reason(error: OSError) -> str:
    """Return what the system says, "permission denied", without number and file name."""
    return (error.strerror or str(error)).lower()


def write_record(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Write one of our JSON records, atomically."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:  # a file name that is not UTF-8 is written with JSON's own escapes
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def read_record(path: str | os.PathLike, **types: Types) -> dict[str, Any] | None:
    """Read one of our JSON records; None if there is none. A damaged one counts as absent, and a note says so.

    Args:
        path: the file.
        **types: what the record must hold, as in `seconds=(int, float)`; a number is never a `bool`. One that may be
            missing has `NoneType` among its types.
    """
    try:
        return parse_record(Path(path).read_text(encoding="utf-8"), types)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        note_damage(path, error)
        return None


def read_records(path: str | os.PathLike, damaged: list[str] | None = None, /, **types: Types) -> list[dict[str, Any]]:
    """Read JSON records that stand one per line; a damaged line, as the last one after a kill, is noted and left out.

    Args:
        path: the file; if there is none, there are no records.
        damaged: gets the damaged lines; what is not UTF-8 in them as by "surrogateescape".
        **types: as in `read_record`.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                records.append(parse_record(line.decode("utf-8"), types))
        except ValueError as error:
            note_damage(f"{path}, line {number}", error)
            if damaged is not None:
                damaged.append(line.decode("utf-8", "surrogateescape"))
    return records


def append_record(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Add one of our JSON records as a line at the end of a file; half a line that a kill left is ended first."""
    with disk_full_as_one_line(path), open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def parse_record(text: str, types: dict[str, Types]) -> dict[str, Any]:
    """Return the names and values that JSON text holds.

    Raises:
        ValueError: it is not JSON, holds something else, or a value is of another type than in `types`.
    """
    try:
        record = json.loads(text, parse_int=whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("it must hold names and values")
    if not holds(record, types):
        raise ValueError(f"it must hold {', '.join(types)} of the right types")
    return record


def whole_number(digits: str) -> int:
    """Return the number that digits stand for.

    Raises:
        ValueError: it has more than 20 digits, more than anything that is counted here.
    """
    if len(digits) > 20:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def holds(record: Any, types: dict[str, Types]) -> bool:
    """Return whether a JSON value is a record that holds values of these types; a missing one counts as None."""
    return isinstance(record, dict) and all(is_of_type(record.get(name), kinds) for name, kinds in types.items())


def is_of_type(value: Any, kinds: Types) -> bool:
    """Return whether a JSON value is of one of the types; true and false are not numbers."""
    if isinstance(value, bool):
        return bool in (kinds if isinstance(kinds, tuple) else (kinds,))
    return isinstance(value, kinds)


def note_damage(where: str | os.PathLike, error: Exception) -> None:
    """Tell the user that a record is not used, and why."""
    text = reason(error) if isinstance(error, OSError) else str(error)
    print(f"note: {where} is damaged and ignored ({' '.join(text.split())[:100]})", file=sys.stderr)


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
            f"{place}: no space left (disk, quota or size limit): make room, then run the same command again to resume"
        ) from error
