"""A step makes one folder, all or nothing: it works in NAME.PID.partial, which gets its name when all is in it.

What a folder was made from is written into it before it gets its name, so a kill at any moment leaves either a whole
step, which the next run skips, or none. The process' number is in the name because a killed run may leave children
that still write: what they write then never meets what the next run makes.
"""

import contextlib
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
from ...common.files import disk_full_as_one_line
from .manifest import Manifest, say

RECORD = ".step.json"


def step(
    manifest: Manifest,
    name: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path], Mapping[str, Any] | None],
    resumes: bool = False,
) -> Path:
    """Runs ``work`` on an empty folder unless an earlier run has made the same from the same.

    Args:
        manifest: the record; the step's counts go there, too.
        name: the folder to make, inside the manifest's; may have a parent, "audio/dev-clean".
        inputs: everything that decides the result: options, files (see `stamp_of`), earlier steps (see `made_by`).
        work: fills the folder it is given; returns counts.
        resumes: ``work`` itself goes on in a folder that it left half-done.

    Returns:
        The folder.
    """
    folder = manifest.folder / name
    fingerprint = hash_of({"step": name, **inputs})
    record = read_record(folder)
    if record and record.get("fingerprint") == fingerprint and record.get("files") == files_in(folder):
        say(f"{name}: done before, kept")
        manifest.record("steps", name, record)
        return folder
    if folder.exists() and record is None and any(folder.iterdir()):
        raise UserError(f"{folder} was not made by this command: move it away or choose another --output")
    if record:
        say(f"{name}: made from other inputs or options, or changed since; it is made again")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    old, mark = folder.with_name(f"{folder.name}.old"), partial / (RECORD + ".begun")
    mine = None
    for left in folder.parent.glob(f"{glob.escape(folder.name)}.*.partial"):
        begun = left / mark.name
        if resumes and not mine and begun.is_file() and begun.read_text(encoding="utf-8") == fingerprint:
            mine = left
        else:
            shutil.rmtree(left, ignore_errors=True)
    if mine and mine != partial:
        os.replace(mine, partial)
    partial.mkdir(parents=True, exist_ok=True)
    mark.write_text(fingerprint, encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    say(f"{name}: started")
    began = time.monotonic()
    with disk_full_as_one_line(partial):
        counts = dict(work(partial) or {})
        mark.unlink()
        seconds = round(time.monotonic() - began, 1)
        record = {"fingerprint": fingerprint, "files": files_in(partial), "counts": counts, "seconds": seconds}
        (partial / RECORD).write_text(json.dumps(record), encoding="utf-8")
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
    manifest.record("steps", name, record)
    told = ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in counts.items()
    )
    say(f"{name}: done in {seconds:.0f} s{': ' + told if told else ''}")
    return folder


def counts_of(folder: Path) -> dict[str, Any]:
    """What a finished step counted."""
    return (read_record(folder) or {}).get("counts", {})


def made_by(folder: Path) -> str:
    """The fingerprint of a finished step, to be an input of the next."""
    return (read_record(folder) or {}).get("fingerprint", "")


def read_record(folder: Path) -> dict[str, Any] | None:
    """What a finished step wrote into its folder."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else None
    return None


def files_in(folder: Path) -> str:
    """Changes when a file is missing, new, or of another size."""
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(place, folder)
        found += [(inside, name, size_of(os.path.join(place, name))) for name in sorted(names) if name != RECORD]
    return f"{len(found)} files, {sum(size for *_, size in found)} bytes, {hash_of(found)}"


def size_of(path: str | os.PathLike) -> int:
    """Bytes; 0 for what is not there, such as the other end of a link."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def hash_of(content: Any) -> str:
    """Sixteen hexadecimal digits of whatever JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def stamp_of(path: Path) -> list:
    """Name, size and time of change of a file that the user gave."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def need_space(folder: Path, size: int, what: str) -> None:
    """Refuses to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{folder}: {what} needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room or choose another "
            "--output; what is done is kept"
        )


def need_space_for_all(folder: Path, size: int, result: str) -> None:
    """Refuses to begin a corpus that will not fit; what an earlier run left in the folder is part of its size."""
    if not (folder / result).exists():
        used = sum(size_of(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)
        need_space(folder, size - used, "what is left to do")
