"""Unpacking that cannot write outside its folder: names are checked, links become copies, sizes are limited."""

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from ...common.errors import UserError

MOST_FILES = 2_000_000  # LibriSpeech's largest archive holds 150,000
EXPANSION = 30  # text packs to a tenth; a file that grows more than this is a bomb
SPARE = 1 << 26  # small archives may grow more
BLOCK = 1 << 20
LONGEST_HEADER = 1 << 16  # bytes of a member's name, link or PAX header
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


class BoundedTarInfo(tarfile.TarInfo):
    """A member whose headers are bounded: `tarfile` itself reads a name or PAX header of any size into memory."""

    def _proc_gnulong(self, archive):
        self.refuse_long_header()
        return super()._proc_gnulong(archive)

    def _proc_pax(self, archive):
        self.refuse_long_header()
        return super()._proc_pax(archive)

    def _proc_sparse(self, archive):
        raise tarfile.TarError(f"its member {self.name[:60]!r} is a sparse file")

    def refuse_long_header(self) -> None:
        """Raise tarfile's own error for a header that no corpus has."""
        if self.size > LONGEST_HEADER:
            raise tarfile.TarError(f"a header of {self.size:,} bytes")


def open_tar(archive: Path) -> tarfile.TarFile:
    """Open a tar archive (plain, gz, bz2, xz) whose headers are bounded."""
    return tarfile.open(archive, tarinfo=BoundedTarInfo)


def extract(
    archive: Path, folder: Path, keep: Callable[[str], str | None] = lambda name: name, limit: int | None = None
) -> dict[str, int]:
    """Unpack a tar (plain, gz, bz2, xz), zip or gz file into `folder`.

    Args:
        archive: the file; what it is, is seen by its content, not its name.
        folder: where to; should be empty.
        keep: where a member goes, by its name, or None to leave it out.
        limit: most bytes to unpack (default: 30 times the archive's size and 64 MB).

    Returns:
        Counts: files and bytes.

    Raises:
        UserError: the archive is damaged, too large, or has a member that would land outside the folder.
    """
    limit = EXPANSION * archive.stat().st_size + SPARE if limit is None else limit
    written, files = 0, 0
    bar = tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, disable=None)
    try:
        with bar:
            for name, stream in members(archive, limit):
                if (place := keep(name)) is None:
                    continue
                target = folder / inside(place, archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                files += 1
                with stream, open(target, "wb") as file:
                    while block := stream.read(BLOCK):
                        written += len(block)
                        if written > limit or files > MOST_FILES:
                            raise UserError(
                                f"{archive} unpacks to more than {limit / 1e9:.1f} GB or {MOST_FILES:,} files: it is "
                                "not the published file"
                            )
                        file.write(block)
                        bar.update(len(block))
    except DAMAGED as error:
        raise UserError(
            f"{archive} cannot be unpacked ({' '.join(str(error).split())}): it is damaged, delete it and run again"
        ) from None
    return {"files": files, "bytes": written}


def members(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file in an archive; check every name, also of what is not asked for."""
    with open(archive, "rb") as file:
        magic = file.read(2)
    if magic == b"PK":
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                inside(entry.filename, archive)
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise refusal(archive, entry.filename, "is a link")
                if not entry.is_dir():
                    yield entry.filename, packed.open(entry)
        return
    try:
        packed = open_tar(archive)
    except tarfile.ReadError:
        if magic != b"\x1f\x8b":
            raise
        yield archive.name.removesuffix(".gz"), gzip.open(archive)  # noqa: SIM115 (closed by the caller)
        return
    with packed:
        for entry in packed:
            inside(entry.name, archive)
            if packed.offset > limit:  # what is left out must be read past, too
                raise UserError(f"{archive} unpacks to more than {limit / 1e9:.1f} GB: it is not the published file")
            if entry.isdir():
                continue
            if entry.issym() or entry.islnk():
                yield entry.name, linked(packed, entry, archive)
            elif entry.isfile():
                yield entry.name, packed.extractfile(entry)
            else:
                raise refusal(archive, entry.name, "is a device or a pipe")
        while packed.fileobj.read(BLOCK):  # to the end, where gzip keeps its checksum
            pass


def linked(packed: tarfile.TarFile, entry: tarfile.TarInfo, archive: Path) -> IO[bytes]:
    """Return the content that a link leads to, which must be a file of the archive: links are never made on disk."""
    target = entry.linkname if entry.islnk() else os.path.join(os.path.dirname(entry.name), entry.linkname)
    if entry.linkname.startswith("/") or os.path.normpath(target).startswith(".."):
        raise refusal(archive, entry.name, f"is a link that leads outside, to {entry.linkname}")
    try:
        content = packed.extractfile(entry)
    except KeyError:
        content = None
    except RecursionError:
        raise refusal(archive, entry.name, "is a link that leads to itself") from None
    if content is None:
        raise refusal(archive, entry.name, f"is a link to {entry.linkname}, which is not a file of the archive")
    return content


def inside(name: str, archive: Path) -> Path:
    """Return a member's name as a relative path that stays in its folder."""
    path = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        raise refusal(archive, name, "would be written outside the folder")
    return Path(*path.parts)


def refusal(archive: Path, name: str, reason: str) -> UserError:
    """Return the one-line error for an archive that must not be unpacked."""
    return UserError(f"{archive} is refused: its member {name!r} {reason}; fetch it from a source you trust")
