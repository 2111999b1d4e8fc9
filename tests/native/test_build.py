"""Compiling: once for a machine; what happens without a compiler, with a bad one, and without a cache."""

import logging
import os
import shlex
import shutil
import subprocess
from unittest.mock import Mock

import pytest

from b2t_fairseq.native import build

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")


@pytest.fixture
def fresh(monkeypatch, tmp_path, caplog):
    """`kernels()` as in a new process with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    caplog.set_level(logging.INFO)
    return build.kernels.__wrapped__


@needs_compiler
def test_it_is_compiled_once(fresh, tmp_path, caplog):
    assert fresh() is not None and "compiling kernels" in caplog.text
    caplog.clear()
    assert fresh() is not None and not caplog.text
    left = sorted(path.suffix for path in (tmp_path / "cache/b2t_fairseq").iterdir())
    assert left == [".sha256", ".so"]  # nothing else


@needs_compiler
def test_another_processor_or_source_is_compiled_anew(fresh, tmp_path, monkeypatch):
    fresh()
    monkeypatch.setattr(build, "processor", lambda: "another")
    fresh()
    source = tmp_path / "more.cpp"
    source.write_text("// nothing\n")
    monkeypatch.setattr(build, "SOURCES", (*build.SOURCES, source))
    fresh()
    assert len(list((tmp_path / "cache/b2t_fairseq").glob("*.so"))) == 3


@pytest.mark.parametrize("compiler", ["", "/no/such/c++"])
def test_without_a_compiler(fresh, monkeypatch, caplog, compiler):
    monkeypatch.setenv("CXX", compiler)
    assert fresh() is None and "no C++ compiler" in caplog.text


@pytest.mark.parametrize("compiler", ["false", "sh -c 'echo it is broken >&2; exit 1'"])
def test_a_compiler_that_fails(fresh, monkeypatch, caplog, compiler):
    monkeypatch.setenv("CXX", compiler)
    assert fresh() is None and "the kernels cannot be compiled" in caplog.text


def test_a_library_that_cannot_be_loaded(fresh, monkeypatch, caplog, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    monkeypatch.setattr(build, "compiled", lambda compiler: broken)
    monkeypatch.setenv("CXX", "true")
    assert fresh() is None and "cannot be used" in caplog.text


@needs_compiler
def test_without_a_home(fresh, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(build.Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert fresh() is not None


@needs_compiler
def test_without_a_cache(fresh, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fresh() is not None


@needs_compiler
def test_products_compile_for_a_processor_with_amx(tmp_path):
    """With the compiler's own header, which the emulation replaces."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    flags = [flag for flag in build.FLAGS if flag != "-march=native"] + ["-march=sapphirerapids", "-c"]
    (tmp_path / "empty.cpp").touch()
    if subprocess.run([*compiler, *flags, "empty.cpp"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("a compiler that does not know processors with AMX")
    source = next(source for source in build.SOURCES if source.name == "products.cpp")
    subprocess.run([*compiler, *flags, source], cwd=tmp_path, check=True)
