"""The cache of compiled kernels: what others could have put there is not loaded, what was cut short is made anew."""

import ctypes
import logging
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import environment

from b2t_fairseq.native import build

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
OTHER = 65534


@pytest.fixture
def cache(monkeypatch, tmp_path, caplog):
    """An empty cache, and a source that compiles in an instant."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    source = tmp_path / "small.cpp"
    source.write_text('extern "C" int answer() { return 42; }\n')
    monkeypatch.setattr(build, "SOURCES", (source,))
    monkeypatch.setattr(build, "FLAGS", ("-O0", "-fPIC"))
    caplog.set_level(logging.INFO)
    return tmp_path / "cache" / "b2t_fairseq"


def compiled() -> Path:
    """The library, which answers."""
    path = build.compiled(["c++"])
    copy = path.with_name("copy.so")  # the loader keeps a path it has seen
    shutil.copy(path, copy)
    try:
        assert ctypes.CDLL(str(copy)).answer() == 42
    finally:
        copy.unlink()
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_folder_is_private(cache, umask):
    before = os.umask(umask)
    try:
        path = compiled()
    finally:
        os.umask(before)
    assert path.parent == cache and mode(cache) == 0o700 and not mode(path) & 0o077


def test_it_is_compiled_once(cache, caplog):
    compiled()
    caplog.clear()
    assert compiled().parent == cache and "compiling" not in caplog.text


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, -1])
def test_a_library_cut_short_is_made_anew(cache, kept, caplog):
    path = compiled()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert compiled() == path and "is damaged" in caplog.text
    assert build.is_whole(path)


@pytest.mark.parametrize("digest", ["", "0" * 64, "é", None])
def test_a_digest_that_does_not_fit_makes_it_anew(cache, digest):
    beside = build.digest_beside(compiled())
    beside.unlink()
    if digest is not None:
        beside.write_text(digest, encoding="utf-8")
    assert build.is_whole(compiled())


def planted(path: Path) -> None:
    path.write_text("not a library")
    build.digest_beside(path).write_text(build.digest_of(path))


def test_a_folder_that_others_can_write_is_not_used(cache, caplog):
    path = compiled()
    planted(path)
    cache.chmod(0o777)
    assert compiled().parent != cache and "not this user's alone" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["folder", "library", "digest"])
def test_what_others_own_is_not_used(cache, what):
    path = compiled()
    planted(path)
    os.chown({"folder": cache, "library": path, "digest": build.digest_beside(path)}[what], OTHER, OTHER)
    assert compiled().parent != cache


def test_what_others_can_write_within_is_not_used(cache):
    path = compiled()
    planted(path)
    path.chmod(0o666)
    assert compiled().parent != cache


@pytest.mark.parametrize("what", ["folder", "library"])
def test_a_link_is_not_used(cache, what, tmp_path):
    path = compiled()
    planted(path)
    place = cache if what == "folder" else path
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert compiled().parent not in (cache, elsewhere)


def test_a_relative_cache_is_ignored(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(build.Path, "home", lambda: tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    assert compiled().parent == tmp_path / "home" / ".cache" / "b2t_fairseq" and not cache.exists()


def test_a_new_process_survives_a_library_cut_short(cache):
    """Loaded by a process of its own: such a cut was SIGBUS."""
    program = (
        "import pathlib, sys; from b2t_fairseq.native import build; build.FLAGS = ('-O0', '-fPIC');"
        "build.SOURCES = (pathlib.Path(sys.argv[1]),); print(build.kernels().answer())"
    )

    def start():
        command = [sys.executable, "-c", program, str(cache.parents[1] / "small.cpp")]
        return subprocess.run(command, env=environment(), capture_output=True, text=True)

    assert start().stdout.strip() == "42"
    (path,) = cache.glob("*.so")
    os.truncate(path, path.stat().st_size // 2)
    again = start()
    assert again.returncode == 0 and again.stdout.strip() == "42", again.stderr
