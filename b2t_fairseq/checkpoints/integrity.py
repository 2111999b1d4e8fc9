"""Checkpoint files that are whole: written with a digest inside, checked when they are read.

`torch.save` writes a zip archive. Ours ends with a zip comment, `b2t-sha256:…`, the digest of all that `torch.save`
wrote; torch, zip programs and stock fairseq ignore it. So the digest moves with the file, and any changed bit shows.
A file without a digest (of stock fairseq, or older) is accepted if it is complete.
"""

import contextlib
import errno
import hashlib
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..common.errors import UserError
from ..common.files import replacing

TRIES, WAIT = 3, 2.5  # a network disk may be away, or full, for a moment; seconds between tries
HOPELESS = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
MARK = b"b2t-sha256:"
COMMENT = len(MARK) + 2 * hashlib.sha256().digest_size
COMMENT_SIZE = struct.pack("<H", COMMENT)  # the last field of a zip archive, before the comment; 0 without one
ZIP, ZIP_END, ZIP_END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22
OLD_PICKLE = b"\x80"  # torch before 1.6; before that it wrote tar files
CHUNK = 1 << 20
NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)  # fsync of a folder, on some file systems
CLOCK_TICK = 0.1  # seconds; file times are coarser than the clock
STALE = 3600  # seconds after which nobody still writes to a temporary file

_whole: dict[tuple, bool] = {}  # what `check` has answered, so that no file is read for that twice


class DamagedCheckpointError(UserError):
    """A checkpoint file is not what was written."""


def write(state: dict[str, Any], path: str | os.PathLike) -> None:
    """Write a checkpoint so that `path` is the new file, whole and on the disk, or what it was before.

    Raises:
        UserError: the file cannot be written.
    """
    place(path, lambda file: dump(state, file))


def copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy a checkpoint as `write` writes one. The copy is a file of its own: damage to one leaves the other whole.

    Raises:
        UserError: the copy cannot be written.
    """

    def fill(file: BinaryIO) -> None:
        with open(source, "rb") as original:
            for chunk in iter(lambda: original.read(CHUNK), b""):
                file.write(chunk)

    place(target, fill)


def dump(state: Any, file: Any) -> None:
    """Write what `torch.save` writes, with its digest as the comment of the zip archive, into an open file."""
    sink = _Sink(file)
    try:
        torch.save(state, sink)
    except Exception as error:  # torch replaces the disk's error by one of its own
        raise sink.error or error from None
    if sink.ending != b"\0\0":
        raise RuntimeError("torch.save wrote no zip archive")  # a torch that does so needs another place for the digest
    sink.file.write(COMMENT_SIZE + MARK + sink.digest.hexdigest().encode())


class _Sink:
    """A file that takes the digest of what is written, and holds back the last two bytes."""

    def __init__(self, file: Any):
        self.file, self.digest, self.ending, self.error = file, hashlib.sha256(), b"", None

    def write(self, data: Any) -> int:
        self.digest.update(data)
        content = self.ending + bytes(data) if len(data) < 2 else data
        try:
            if content is data:
                self.file.write(self.ending)
            self.file.write(content[:-2])
        except OSError as error:
            self.error = self.error or error
            raise
        self.ending = bytes(content[-2:])
        return len(data)

    def flush(self) -> None:
        pass


def place(path: str | os.PathLike, fill: Callable[[BinaryIO], Any]) -> None:
    """Fill a temporary file, check it, and only then give it its name; three tries, each with a file of its own.

    Raises:
        UserError: the file cannot be written.
    """
    for last in (*[False] * (TRIES - 1), True):
        try:
            with replacing(path) as temporary:
                temporary.unlink(missing_ok=True)
                with open(temporary, "xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                check(temporary)
            return _sync_folder(Path(path).parent)
        except (OSError, UserError) as error:
            cause = (
                error.__cause__ if isinstance(error.__cause__, OSError) else error
            )  # `replacing` explains a full disk
            if last or isinstance(cause, HOPELESS):
                raise _not_saved(path, cause) from None
            time.sleep(WAIT)


def _not_saved(path: str | os.PathLike, cause: Exception) -> UserError:
    why = (cause.strerror or str(cause)).lower() if isinstance(cause, OSError) else "what was written reads differently"
    if isinstance(cause, HOPELESS):
        return UserError(f"{path}: {why}; not saved: check the path and its permissions")
    return UserError(
        f"{path}: not saved: {why}; the checkpoints that were there are as they were: "
        "make room or repair the disk, then run the same command again to resume"
    )


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NOT_FOR_FOLDERS:
            raise


def check(path: str | os.PathLike) -> bool:
    """Check that a checkpoint file is whole; return whether it has a digest.

    Without a digest only the beginning and the end are looked at.

    Raises:
        DamagedCheckpointError: it is not whole.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key in _whole:
            return _whole[key]
        file.seek(max(0, status.st_size - COMMENT - len(COMMENT_SIZE)))
        end = file.read()
        has_digest = end.startswith(COMMENT_SIZE + MARK)
        file.seek(0)
        damage = _changed(file, status.st_size, end) if has_digest else _incomplete(file.read(512), end)
    if damage:
        raise DamagedCheckpointError(f"{path}: the checkpoint is damaged: {damage}")
    if time.time() - status.st_mtime > CLOCK_TICK:  # else a later change could leave the same time
        _whole[key] = has_digest
    return has_digest


def _changed(file: BinaryIO, size: int, end: bytes) -> str | None:
    """Return what is wrong with a file that has a digest; None if nothing is."""
    digest, left = hashlib.sha256(), size - len(end)
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(b"\0\0")  # the comment's size as `torch.save` wrote it
    return None if end.endswith(MARK + digest.hexdigest().encode()) else "its content is not what was saved"


def _incomplete(beginning: bytes, end: bytes) -> str | None:
    """Return what is wrong with a file without a digest, by its beginning and its end; None if nothing is."""
    if not end:
        return "the file is empty"
    if beginning.startswith(ZIP):
        complete = end[-ZIP_END_SIZE:].startswith(ZIP_END) and end.endswith(b"\0\0")
        return None if complete else "it is cut short, or its end is overwritten"
    if beginning.startswith(OLD_PICKLE) or beginning[257:262] == b"ustar":
        return None
    return "its beginning is not that of a checkpoint"


def is_archive(path: str | os.PathLike) -> bool:
    """Whether it is a file of torch >= 1.6, which can be mapped into memory."""
    with open(path, "rb") as file:
        return file.read(len(ZIP)) == ZIP


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove the temporary files of processes that were killed while saving."""
    for path in Path(folder).glob("checkpoint*.pt*.tmp"):
        owner = re.search(r"\.pt\.(.+)-(\d+)-\d+\.tmp$", path.name)
        here = owner is not None and owner[1] == socket.gethostname()
        with contextlib.suppress(OSError):  # gone already, or not ours
            ended = not Path(f"/proc/{owner[2]}").exists() if here else time.time() - path.stat().st_mtime > STALE
            if ended:
                path.unlink()
