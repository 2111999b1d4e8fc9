"""A step makes one folder, all or nothing: it works in NAME.PID.partial, which gets its name when all is in it.

What a folder was made from is written into it before it gets its name, so a kill at any moment leaves either a whole
step, which the next run skips, or none. The process' number is in the name because a killed run may leave children
that still write: what they write then never meets what the next run makes.
"""

import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import disk_full_as_one_line, put_in_place, read_record, write_record
from .manifest import Manifest, say

RECORD = ".step.json"


def step(
    manifest: Manifest,
    name: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path], Mapping[str, Any] | None],
    resumes: bool = False,
) -> Path:
    """Run `work` on an empty folder unless an earlier run has made the same from the same.

    Args:
        manifest: the record; the step's counts go there, too.
        name: the folder to make, inside the manifest's; may have a parent, "audio/dev-clean".
        inputs: everything that decides the result: options, files (see `stamp_of`), earlier steps (see `made_by`).
        work: fills the folder it is given; returns counts.
        resumes: `work` itself resumes in a folder that it left half-done.

    Returns:
        The folder.
    """
    folder = manifest.folder / name
    fingerprint = hash_of({"step": name, **inputs})
    record = record_of(folder)
    if record and record["fingerprint"] == fingerprint and record["files"] == files_in(folder):
        say(f"{name}: done before, kept")
        manifest.record("steps", name, record)
        return folder
    is_ours = (folder / RECORD).exists()  # also with a damaged record
    if folder.exists() and not is_ours and any(folder.iterdir()):
        raise UserError(f"{folder} was not made by this command: move it away or choose another --output")
    if is_ours:
        say(f"{name}: made from other inputs or options, or changed since; it is made again")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    mark, mine = partial / (RECORD + ".begun"), None
    for left in folder.parent.glob(f"{glob.escape(folder.name)}.*.partial"):
        begun = left / mark.name
        if resumes and not mine and begun.is_file() and begun.read_bytes() == fingerprint.encode():
            mine = left
        else:
            shutil.rmtree(left, ignore_errors=True)
    if mine and mine != partial:
        os.replace(mine, partial)
    partial.mkdir(parents=True, exist_ok=True)
    mark.write_text(fingerprint, encoding="utf-8")
    say(f"{name}: started")
    began = time.monotonic()
    with disk_full_as_one_line(partial):
        counts = dict(work(partial) or {})
        mark.unlink()
        seconds = round(time.monotonic() - began, 1)
        record = {"fingerprint": fingerprint, "files": files_in(partial), "counts": counts, "seconds": seconds}
        write_record(partial / RECORD, record)
    put_in_place(partial, folder)
    manifest.record("steps", name, record)
    summary = ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in counts.items()
    )
    say(f"{name}: done in {seconds:.0f} s{': ' + summary if summary else ''}")
    return folder


def counts_of(folder: Path) -> dict[str, Any]:
    """Return what a finished step counted."""
    return (record_of(folder) or {"counts": {}})["counts"]


def made_by(folder: Path) -> str:
    """Return the fingerprint of a finished step, to be an input of the next."""
    return (record_of(folder) or {"fingerprint": ""})["fingerprint"]


def record_of(folder: Path) -> dict[str, Any] | None:
    """Read what a finished step wrote into its folder."""
    return read_record(folder / RECORD, fingerprint=str, files=str, counts=dict)


def files_in(folder: Path) -> str:
    """Return a text that changes when a file is missing, new, or of another size."""
    files = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(place, folder)
        files += [(inside, name, size_of(os.path.join(place, name))) for name in sorted(names) if name != RECORD]
    return f"{len(files)} files, {sum(size for *_, size in files)} bytes, {hash_of(files)}"


def size_of(path: str | os.PathLike) -> int:
    """Return the size in bytes; 0 for what is not there, such as the other end of a link."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def hash_of(content: Any) -> str:
    """Return sixteen hexadecimal digits for whatever JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def stamp_of(path: Path) -> list:
    """Return name, size and time of change of a file that the user gave."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def need_space(folder: Path, size: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{folder}: {what} needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room or choose another "
            "--output; what is done is kept"
        )


def need_space_for_all(folder: Path, size: int, result: str) -> None:
    """Refuse to begin a corpus that will not fit; what an earlier run left in the folder is part of its size."""
    if not (folder / result).exists():
        used = sum(size_of(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)
        need_space(folder, size - used, "what is left to do")
