"""Archives: what is right is unpacked, what would write elsewhere is refused before anything is written there."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest

from b2t_fairseq import UserError
from b2t_fairseq.corpora.fetching.extract import extract

GOOD = {"top/a file.txt": b"one\n" * 5000, "top/deeper/b": b"", "ümlaut.txt": "ä\n".encode()}


def tar(path, files=GOOD, mode="w:gz", **special):
    """A tar; ``special``: name=(type, linkname)."""
    with tarfile.open(path, mode) as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        for name, (kind, link) in special.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            packed.addfile(entry)
    return path


def zipped(path, files=GOOD):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def out(tmp_path):
    (tmp_path / "an outer" / "out folder").mkdir(parents=True)
    return tmp_path / "an outer" / "out folder"


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "w:xz", "w", "zip", "gz"])
def test_what_is_packed_comes_out_whatever_the_file_is_called(out, tmp_path, kind):
    archive = tmp_path / "an archive"
    wanted = GOOD
    if kind == "zip":
        zipped(archive)
    elif kind == "gz":
        archive = tmp_path / "text file.gz"
        archive.write_bytes(gzip.compress(b"hello\n"))
        wanted = {"text file": b"hello\n"}
    else:
        tar(archive, mode=kind)
    counts = extract(archive, out)
    assert everything(out) == wanted
    assert counts == {"files": len(wanted), "bytes": sum(map(len, wanted.values()))}


def test_only_what_is_wanted_is_unpacked_and_may_be_renamed(out, tmp_path):
    extract(tar(tmp_path / "a"), out, lambda name: name.removeprefix("top/") if name.startswith("top/") else None)
    assert set(everything(out)) == {"a file.txt", "deeper/b"}


OUTSIDE = ["../evil", "/tmp/evil-b2t", "top/../../evil", "C:evil", "..\\evil", "a/b/../../../evil"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("pack", [tar, zipped])
def test_names_that_lead_outside_are_refused(out, tmp_path, name, pack):
    before = everything(tmp_path)
    archive = pack(tmp_path / "a", {name: b"evil"})
    for keep in (lambda name: name, lambda name: None):  # also when nobody asks for it
        with pytest.raises(UserError, match="refused"):
            extract(archive, out, keep)
    archive.unlink()
    assert everything(tmp_path) == before and not os.path.exists("/tmp/evil-b2t")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "top/../../x", "nothing here", "top/link"])
def test_links_that_lead_outside_or_nowhere_are_refused(out, tmp_path, kind, target):
    with pytest.raises(UserError, match="refused"):
        extract(tar(tmp_path / "a", {}, **{"top/link": (kind, target)}), out)
    assert not everything(out) and not list(out.rglob("link"))


def test_a_folder_that_is_a_link_cannot_be_written_through(out, tmp_path):
    archive = tar(tmp_path / "a", {}, link=(tarfile.SYMTYPE, str(tmp_path)))
    with tarfile.open(archive, "w:gz") as packed:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, ".."
        packed.addfile(entry)
        entry = tarfile.TarInfo("link/evil")
        entry.size = 4
        packed.addfile(entry, io.BytesIO(b"evil"))
    with pytest.raises(UserError, match="refused"):
        extract(archive, out)
    assert not (out.parent / "evil").exists()


def test_links_inside_become_copies(out, tmp_path):
    links = {"soft": (tarfile.SYMTYPE, "top/a file.txt"), "hard": (tarfile.LNKTYPE, "top/a file.txt")}
    extract(tar(tmp_path / "a", **links), out)
    for name in links:
        assert not (out / name).is_symlink() and (out / name).read_bytes() == GOOD["top/a file.txt"]
    assert (out / "soft").stat().st_nlink == 1


def test_devices_pipes_and_zipped_links_are_refused(out, tmp_path):
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE):
        with pytest.raises(UserError, match="device or a pipe"):
            extract(tar(tmp_path / "a", {}, pipe=(kind, "")), out)
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as packed:
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        extract(tmp_path / "z", out)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_bombs_are_stopped(out, tmp_path, pack):
    archive = pack(tmp_path / "bomb", {"zeros": bytes(100_000_000)})
    with pytest.raises(UserError, match="unpacks to more than"):
        extract(archive, out)
    assert sum(map(len, everything(out).values())) < 80_000_000
    with pytest.raises(UserError, match="unpacks to more than"):
        extract(pack(tmp_path / "small"), out, limit=10_000)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_damaged_archives_are_one_sentence(out, tmp_path, pack):
    content = pack(tmp_path / "a", {"x": os.urandom(50_000), "y": os.urandom(50_000)}).read_bytes()
    middle = bytearray(content)
    middle[len(middle) // 2] ^= 255
    for damaged in (content[:70_000], bytes(middle), content[:100], b"<html>", b"", b"PK", b"\x1f\x8b"):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(UserError, match="delete it and run again"):
            extract(tmp_path / "a", out)
