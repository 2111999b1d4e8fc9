"""Downloads against a server that breaks connections, lies, is slow, or is not there."""

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from flaky_server import serving

from b2t_fairseq import UserError
from b2t_fairseq.corpora.fetching import download, steps
from b2t_fairseq.corpora.fetching.download import Source, fetch, obtain
from b2t_fairseq.corpora.fetching.manifest import Manifest

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
NAME = "a file.bin"
DEAD = "http://127.0.0.1:9/dead.bin"  # the discard port: nobody listens


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.01)
    with serving() as server:
        yield server


def fetched(folder, *urls, checksum=SHA256, size=None) -> bytes:
    folder.mkdir(exist_ok=True)
    fetch(Source(NAME, urls, size, checksum, "the test"), folder)
    assert os.listdir(folder) == [NAME]
    return (folder / NAME).read_bytes()


@pytest.mark.parametrize("checksum", [SHA256, None], ids=["checksum", "none"])
def test_reset_connections_are_resumed(server, tmp_path, checksum):
    url = server.add("f", CONTENT, cuts=[100_000, 50_000, 0, 1])
    assert fetched(tmp_path / "a folder", url, checksum=checksum) == CONTENT
    begun = [int(asked[6:-1]) for _, asked, _ in server.asked if asked]
    assert len(begun) >= 2 and begun == sorted(begun) and begun[-1] > 0
    assert {status for _, asked, status in server.asked if asked} == {206}


def test_more_breaks_than_attempts_are_survived_as_long_as_there_is_progress(server, tmp_path):
    url = server.add("f", CONTENT, cuts=[20_000] * 14)
    assert fetched(tmp_path / "d", url) == CONTENT and len(server.asked) == 15


@pytest.mark.parametrize("manners", [{"ranges": False}, {"tag": False}, {"length": False}])
@pytest.mark.parametrize("checksum", [SHA256, None], ids=["checksum", "none"])
def test_servers_that_know_no_ranges_tags_or_lengths(server, tmp_path, manners, checksum):
    cuts = [100_000] if manners.get("length", True) else []  # without a length a break cannot be seen
    url = server.add("f", CONTENT, cuts=cuts, **manners)
    assert fetched(tmp_path / "d", url, checksum=checksum) == CONTENT


def test_a_break_that_cannot_be_seen_is_caught_by_size_or_checksum(server, tmp_path):
    url = server.add("f", CONTENT[:1000], length=False)
    for wanted in ({"checksum": SHA256}, {"checksum": None, "size": len(CONTENT)}):
        with pytest.raises(UserError, match="instead of"):
            fetched(tmp_path / "d", url, **wanted)


def test_slow_bytes_are_waited_for(server, tmp_path):
    assert fetched(tmp_path / "d", server.add("f", CONTENT[:8000], pause=0.05), checksum=None) == CONTENT[:8000]


def test_a_stalled_connection_is_given_up_and_resumed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    url = server.add("f", CONTENT, pause=5)
    server.files["/f"].cuts = []
    original = download.transfer

    def then_fast(*arguments):
        try:
            return original(*arguments)
        finally:
            server.files["/f"].pause = 0

    monkeypatch.setattr(download, "transfer", then_fast)
    assert fetched(tmp_path / "d", url) == CONTENT
    assert [status for *_, status in server.asked] == [200, 206]


def test_dead_missing_lying_and_html_mirrors_are_passed_over(server, tmp_path, capsys):
    html = server.add("page", b"<html>quota exceeded</html>", kind="text/html; charset=utf-8")
    wrong = server.add("wrong", CONTENT[::-1])
    good = server.add("good", CONTENT)
    urls = [DEAD, f"{server.url}/missing", html, wrong, "nonsense://x", good]
    assert fetched(tmp_path / "d", *urls) == CONTENT
    told = capsys.readouterr().err
    assert "refused" in told and "HTTP 404" in told and "web page" in told and "SHA256" in told
    assert [path for path, *_ in server.asked].count("/missing") == 1  # what is not there is not asked for twice


def test_a_busy_server_is_asked_again(server, tmp_path):
    url = server.add("f", CONTENT, status=503, failures=3)
    assert fetched(tmp_path / "d", url) == CONTENT
    assert [status for *_, status in server.asked] == [503, 503, 503, 200]


def test_no_mirror_is_one_sentence_that_names_all_and_keeps_what_arrived(server, tmp_path):
    url = server.add("f", CONTENT, cuts=[100_000] + [0] * 20)
    with pytest.raises(UserError) as caught:
        fetched(tmp_path / "d", DEAD, url)
    assert DEAD in str(caught.value) and url in str(caught.value) and "--from" in str(caught.value)
    kept = (tmp_path / "d" / f"{NAME}.part").stat().st_size
    assert 0 < kept <= 100_000
    server.files["/f"].cuts, server.asked[:] = [], []
    assert fetched(tmp_path / "d", url) == CONTENT
    assert server.asked == [("/f", f"bytes={kept}-", 206)]


@pytest.mark.parametrize("checksum", [True, False])
def test_a_file_that_changed_on_the_server_is_never_mixed(server, tmp_path, checksum):
    url = server.add("f", CONTENT, cuts=[100_000] + [0] * 20)
    with pytest.raises(UserError):
        fetched(tmp_path / "d", url, checksum=None)
    new = CONTENT[::-1]
    server.add("f", new)
    wanted = f"sha256:{hashlib.sha256(new).hexdigest()}" if checksum else None
    assert fetched(tmp_path / "d", url, checksum=wanted) == new


def test_a_part_of_another_file_is_replaced(server, tmp_path):
    url = server.add("f", CONTENT, cuts=[100_000] + [0] * 20)
    with pytest.raises(UserError):
        fetched(tmp_path / "d", url)
    part = tmp_path / "d" / f"{NAME}.part"
    part.write_bytes(bytes(part.stat().st_size))  # the same length, other bytes
    server.files["/f"].cuts = []
    assert fetched(tmp_path / "d", url) == CONTENT


def test_a_part_goes_on_from_another_mirror_only_if_a_checksum_vouches_for_it(server, tmp_path):
    for checksum in (SHA256, None):
        server.asked.clear()
        first, second = server.add("1", CONTENT, cuts=[100_000] + [0] * 20), server.add("2", CONTENT)
        assert fetched(tmp_path / str(checksum)[:3], first, second, checksum=checksum) == CONTENT
        path, asked, status = server.asked[-1]
        assert (path, status) == (("/2", 206) if checksum else ("/2", 200))


def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch):
    url = server.add("f", CONTENT)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 1000))
    with pytest.raises(UserError, match="free"):
        fetched(tmp_path / "d", url)
    monkeypatch.undo()
    assert fetched(tmp_path / "d", url) == CONTENT


def test_a_disk_that_fills_up_is_one_sentence_and_the_next_run_goes_on(server, tmp_path, monkeypatch):
    url = server.add("f", CONTENT)
    monkeypatch.setattr(download, "BLOCK", 10_000)

    class Full:
        def __init__(self, **_):
            self.blocks = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, _):
            self.blocks += 1
            if self.blocks == 5:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "tqdm", Full)
    with pytest.raises(UserError, match="no space left"):
        fetched(tmp_path / "d", url)
    kept = (tmp_path / "d" / f"{NAME}.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    monkeypatch.undo()
    assert fetched(tmp_path / "d", url) == CONTENT
    assert server.asked[-1] == ("/f", f"bytes={kept}-", 206)


KILLED = """
import sys
from pathlib import Path
from b2t_fairseq.corpora.fetching.download import Source, fetch
fetch(Source(sys.argv[1], (sys.argv[2],), None, sys.argv[3], "the test"), Path(sys.argv[4]))
"""


@pytest.mark.slow
def test_a_killed_download_goes_on(server, tmp_path):
    url = server.add("f", CONTENT, pause=0.05)
    process = subprocess.Popen([sys.executable, "-c", KILLED, NAME, url, SHA256, str(tmp_path)])
    part = tmp_path / f"{NAME}.part"
    until = time.monotonic() + 60
    while steps.size_of(part) < 20_000 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 20_000 <= kept < len(CONTENT) and not (tmp_path / NAME).exists()
    server.files["/f"].pause = 0
    server.asked.clear()
    assert fetched(tmp_path, url) == CONTENT
    assert server.asked == [("/f", f"bytes={kept}-", 206)]


def test_what_is_there_is_not_fetched_again_unless_it_is_wrong(server, tmp_path):
    source = Source(NAME, (server.add("f", CONTENT),), len(CONTENT), SHA256, "the test")
    for _ in range(2):
        manifest = Manifest(tmp_path, "test")
        path = obtain(source, manifest)
        assert path.read_bytes() == CONTENT and len(server.asked) == 1
    record = Manifest(tmp_path, "test").content["sources"][NAME]
    assert record["url"] == source.urls[0] and record["sha256"] == SHA256.removeprefix("sha256:")
    assert record["verified"] == f"{SHA256} from the test"
    os.unlink(manifest.path)  # a forgotten manifest is no reason to fetch
    assert obtain(source, Manifest(tmp_path, "test")) == path and len(server.asked) == 1
    path.write_bytes(CONTENT[::-1])
    assert obtain(source, Manifest(tmp_path, "test")).read_bytes() == CONTENT and len(server.asked) == 2


def test_without_a_checksum_the_first_ones_is_recorded_and_named_unverified(server, tmp_path, capsys):
    source = Source(NAME, (server.add("f", CONTENT),))
    obtain(source, Manifest(tmp_path, "test"))
    record = Manifest(tmp_path, "test").content["sources"][NAME]
    assert record["sha256"] == SHA256.removeprefix("sha256:") and record["verified"].startswith("unverified")
    assert "unverified" in capsys.readouterr().err


def test_given_files_are_checked_and_not_touched(tmp_path):
    given = tmp_path / "my files" / "deeper"
    given.mkdir(parents=True)
    (given / NAME).write_bytes(CONTENT)
    manifest = Manifest(tmp_path / "out", "test")
    assert obtain(Source(NAME, (), None, SHA256, "the test"), manifest, tmp_path / "my files") == given / NAME
    assert manifest.content["sources"][NAME]["file"] == str(given / NAME)
    with pytest.raises(UserError, match="instead of"):
        obtain(Source(NAME, (), None, "md5:" + 32 * "0", "the test"), manifest, given)
    with pytest.raises(UserError, match="has no other.bin"):
        obtain(Source("other.bin", ()), manifest, given)
    assert (given / NAME).read_bytes() == CONTENT and Path(given).exists()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "null",
        '"x"',
        "[" * 100_000,
        '{"url": null}',
        '{"url": "URL", "total": "9"}',
        '{"url": "URL", "validator": {}}',
    ],
    ids=range(8),
)
def test_a_damaged_note_of_a_part_begins_anew(server, tmp_path, capsys, note):
    url = server.add("f", CONTENT)
    (tmp_path / f"{NAME}.part").write_bytes(b"of another file")
    (tmp_path / f"{NAME}.part.json").write_text(note.replace("URL", url))
    assert fetched(tmp_path, url) == CONTENT and [asked for _, asked, _ in server.asked] == [None]
    assert f"{NAME}.part.json is damaged and ignored" in capsys.readouterr().err
