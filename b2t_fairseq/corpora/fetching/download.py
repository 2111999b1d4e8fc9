"""Downloads from several mirrors that survive broken connections, dead mirrors, kills and wrong files.

A file arrives as NAME.part, next to NAME.part.json, which says what it is a part of; it gets its name when size and
checksum are right; this is the one temporary name that outlives its process, so that the next run can resume.
`If-Range` makes the server send the rest only of the very file that was begun.
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from tqdm import tqdm

from ...common.errors import UserError
from ...common.files import disk_full_as_one_line, read_record, write_record
from ...version import __version__
from .manifest import Manifest, say
from .steps import need_space, size_of

ATTEMPTS = 5  # in a row without a byte of progress, before the next mirror
WAIT = 2.0  # seconds before the second attempt; doubled each time
TIMEOUT = 60.0  # seconds without a byte
BLOCK = 1 << 20
AGENT = f"b2t_fairseq/{__version__}"


@dataclass(frozen=True)
class Source:
    """A file to fetch.

    Attributes:
        name: what it is called here.
        urls: mirrors in the order they are tried.
        size: bytes, where known.
        checksum: "sha256:…" or "md5:…", or None if nobody vouches for one.
        vouched_by: the package that the checksum was read from.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    checksum: str | None = None
    vouched_by: str | None = None


class MirrorFailed(Exception):
    """This mirror is of no use for this file; the next one may be."""


class Broken(Exception):
    """The connection broke or the server is busy; trying again may help."""


def obtain(source: Source, manifest: Manifest, given: Path | None = None) -> Path:
    """Return the file from the folder the user gave, or from the Internet into `downloads`; note it in the manifest.

    Raises:
        UserError: it is not in the folder, is not what its checksum says, or cannot be fetched.
    """
    if given is not None:
        path = next(iter(sorted(given.rglob(source.name))), None)
        if path is None:
            raise UserError(f"{given} has no {source.name}: put it there, or leave --from out to fetch it")
        record = {"file": str(path), "size": path.stat().st_size, **digests(path, source)}
        if trouble := mismatch(source, record):
            raise UserError(f"{path} {trouble}: it is not the published file, or it is damaged; fetch it again")
    else:
        folder = manifest.folder / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        path, record = folder / source.name, manifest.content["sources"].get(source.name, {})
        if not is_whole(path, source, record):
            url = fetch(source, folder)
            record = {"url": url, "size": path.stat().st_size, **digests(path, source)}
    record["mtime_ns"] = path.stat().st_mtime_ns
    verified = source.checksum is not None
    record["verified"] = (
        f"{source.checksum} from {source.vouched_by}" if verified else "unverified: no package has its checksum"
    )
    if not verified:
        say(f"{source.name}: unverified; its SHA-256, as it arrived, is recorded: {record['sha256']}")
    manifest.record("sources", source.name, record)
    return path


def is_whole(path: Path, source: Source, record: dict[str, Any]) -> bool:
    """Return whether a file from an earlier run is there and right; one that is not is removed."""
    if not path.is_file():
        return False
    status = path.stat()
    if (record.get("size"), record.get("mtime_ns")) == (status.st_size, status.st_mtime_ns):
        if not mismatch(source, record):
            return True
    else:
        record.update(size=status.st_size, **digests(path, source))
        if not mismatch(source, record):
            record.setdefault("file", str(path))
            return True
    say(f"{path} {mismatch(source, record)}: fetched again")
    path.unlink()
    return False


def mismatch(source: Source, record: dict[str, Any]) -> str | None:
    """Return what is wrong with a file of this size and these digests."""
    if source.size is not None and record["size"] != source.size:
        return f"has {record['size']:,} bytes instead of {source.size:,}"
    kind, _, wanted = (source.checksum or "").partition(":")
    if kind and record.get(kind) != wanted:
        return f"has the {kind.upper()} {record.get(kind)} instead of {wanted}"
    return None


def digests(path: Path, source: Source) -> dict[str, str]:
    """Return the SHA-256 of a file, and the kind of digest that its checksum is of."""
    hashes = {kind: hashlib.new(kind) for kind in {"sha256", (source.checksum or "sha256:").partition(":")[0]}}
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            for digest in hashes.values():
                digest.update(block)
    return {kind: digest.hexdigest() for kind, digest in hashes.items()}


def fetch(source: Source, folder: Path) -> str:
    """Fetch `folder/NAME` from the first mirror that has it; return the URL.

    Raises:
        UserError: no mirror delivers it, or the disk is full; what has arrived stays and is used by the next run.
    """
    part, failures = folder / (source.name + ".part"), []
    for url in source.urls:
        try:
            fetch_from(url, source, part)
        except MirrorFailed as failure:
            failures.append(f"{url}: {failure}")
            say(f"{source.name}: {failures[-1]}")
            continue
        os.replace(part, folder / source.name)
        forget(part, keep_part=True)
        return url
    raise UserError(
        f"{source.name} could not be fetched ({'; '.join(failures) or 'it has no known address'}): run the command "
        f"again later, or fetch the file by other means and name its folder with --from"
    )


def fetch_from(url: str, source: Source, part: Path) -> None:
    """Fill `part` from one mirror, as often as it takes; a wrong checksum of a resumed file gets one fresh start."""
    attempt, fresh_start = 0, False
    while True:
        before = size_of(part)
        try:
            resumed = transfer(url, source, part)
        except Broken as broken:
            attempt = 0 if size_of(part) > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise MirrorFailed(f"{broken} ({ATTEMPTS} attempts)") from None
            wait = WAIT * 2 ** max(0, attempt - 1)
            say(f"{source.name}: {broken}; next attempt in {wait:.0f} s, {size_of(part):,} bytes are here")
            time.sleep(wait)
            continue
        trouble = mismatch(source, {"size": size_of(part), **digests(part, source)})
        if not trouble:
            return
        forget(part)
        if fresh_start or not resumed:
            raise MirrorFailed(f"the file {trouble}")
        fresh_start = True


def transfer(url: str, source: Source, part: Path) -> bool:
    """Open one connection: append to `part` what is missing, or begin anew if the server cannot or must not resume.

    Returns:
        Whether an earlier part was kept.
    """
    begun, start = begun_part(part, source, url), size_of(part)
    if start and begun is None:
        forget(part)
        start = 0
    if begun and start == begun.get("total"):
        return True
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if begun.get("validator") and begun["url"] == url:
            headers["If-Range"] = begun["validator"]
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            start, total = place_of(answer, start, begun, source, part)
            note = {"url": url, "total": total, "validator": validator_of(answer)}
            write_record(note_of(part), note)
            need_space(part.parent, max(0, (total or source.size or 0) - start), f"fetching {source.name}")
            receive(answer, part, start, total, source.name)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is here is longer than the file, or as long: of another file
            forget(part)
            raise Broken("the server's file is not the one that was begun") from None
        kind = Broken if error.code in (408, 425, 429) or error.code >= 500 else MirrorFailed
        raise kind(f"HTTP {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Broken(f"connection failed: {getattr(error, 'reason', None) or error or type(error).__name__}") from None
    except ValueError as error:
        raise MirrorFailed(f"not a usable address or answer: {error}") from None
    if total is not None and size_of(part) < total:
        raise Broken(f"connection closed after {size_of(part):,} of {total:,} bytes")
    return start > 0


def place_of(answer: Any, start: int, begun: dict | None, source: Source, part: Path) -> tuple[int, int | None]:
    """Return where the answer's bytes belong and how long the file is; drop a part that they do not continue."""
    if answer.headers.get("Content-Type", "").startswith("text/html") and not source.name.endswith(".html"):
        raise MirrorFailed("the server sends a web page instead of the file")
    length = answer.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    if start and answer.status == 206:
        place, _, whole = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        total = int(whole) if whole.isdigit() else None
        if place.partition("-")[0] != str(start) or (begun or {}).get("total") not in (None, total):
            forget(part)
            raise Broken("the server's file is not the one that was begun")
    else:
        start = 0  # a server without ranges, or another file by now: everything comes from the beginning
    if source.size is not None and total not in (None, source.size):
        raise MirrorFailed(f"the server's file has {total:,} bytes instead of {source.size:,}")
    return start, total


def receive(answer: Any, part: Path, start: int, total: int | None, name: str) -> None:
    """Write the bytes as they come."""
    bar = tqdm(total=total, initial=start, desc=name, unit="B", unit_scale=True, unit_divisor=1000, disable=None)
    with bar, disk_full_as_one_line(part), open(part, "ab" if start else "wb") as file:
        while block := answer.read1(BLOCK):
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())


def begun_part(part: Path, source: Source, url: str) -> dict | None:
    """Return what is known about a part, if its rest may be fetched from `url`.

    From the same address it may if the server can tell whether the file is still the same, or a checksum will; from
    another mirror only if a checksum will.
    """
    begun = read_record(note_of(part), url=str, total=(int, NoneType), validator=(str, NoneType))
    if begun and (source.checksum or (begun["url"] == url and begun.get("validator"))):
        return begun
    return None


def note_of(part: Path) -> Path:
    """Return where it is written what a part is a part of."""
    return part.with_name(part.name + ".json")


def validator_of(answer: Any) -> str | None:
    """Return what `If-Range` may carry: a strong ETag, else the date of the last change."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def forget(part: Path, keep_part: bool = False) -> None:
    """Remove a part and its note."""
    if not keep_part:
        part.unlink(missing_ok=True)
    note_of(part).unlink(missing_ok=True)
