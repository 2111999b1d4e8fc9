"""Settings for all tests: one thread, no plotting window; and the command line inside this process."""

import logging
import os
import shlex
import signal
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from end_to_end import inside

from b2t_fairseq import native, patches
from b2t_fairseq.common.processes import run
from b2t_fairseq.native import build

torch.set_num_threads(1)
patches.apply_to_process()  # as for a command

#: files whose tests take minutes, the longest first: with `-n 2 --dist worksteal` no process idles at the end
LONGEST = (
    "test_end_to_end.py",
    "test_paper_training.py",
    "test_paper_chains.py",
    "test_quickstart.py",
    "test_speech_end_to_end.py",
    "test_text_tasks_end_to_end.py",
    "test_own_connection.py",
    "test_speech_task.py",
)
# a shell gives its background jobs an ignored SIGINT, which the programs under test would inherit
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Order the tests: those of the longest files, then other slow ones, then the rest, each as they were."""

    def rank(item) -> int:
        if item.path.name in LONGEST:
            return LONGEST.index(item.path.name)
        return len(LONGEST) if item.get_closest_marker("slow") else len(LONGEST) + 1

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def no_stale_log_handlers():
    """Take away log handlers that a command left behind in this process, with the output of an earlier test."""
    named = (logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger))
    for logger in (logging.root, *named):
        for handler in logger.handlers[:]:
            if type(handler) is logging.StreamHandler and handler.stream not in (sys.__stdout__, sys.__stderr__):
                logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def excepthook(monkeypatch):
    """Take back the hook that torch's `init_process_group` sets, which would stay for all later tests."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def here(capsys, caplog):
    """`b2t-fairseq ...` inside this process, which saves the seconds of a start; its output and log."""
    caplog.set_level(logging.INFO)

    def run(*arguments, status: int = 0) -> str:
        capsys.readouterr(), caplog.clear()
        inside(*arguments, status=status)
        printed = capsys.readouterr()
        return printed.out + caplog.text + (printed.err if status else "")

    return run


@pytest.fixture(params=["compiled", "torch's operations"])
def kernels(request, monkeypatch):
    """Each test with the compiled kernels, and with torch's operations; return whether they are compiled."""
    is_compiled = request.param == "compiled"
    if not is_compiled:
        monkeypatch.setattr(native, "kernels", lambda: None)
    elif native.kernels() is None:
        pytest.skip("no C++ compiler")
    return is_compiled


@pytest.fixture(scope="session")
def emulated_library(tmp_path_factory):
    """The kernels, with products.cpp compiled for the emulation of AMX in native/emulated."""
    kernels = build.kernels()
    if kernels is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("emulated")
    flags = [flag for flag in build.FLAGS if flag not in ("-march=native", "-O3")]  # -O3 takes six seconds more
    flags += ["-O2", f"-I{Path(__file__).parent / 'native' / 'emulated'}", "-D__AMX_BF16__", "-D__AVX512BF16__"]
    source = next(source for source in build.SOURCES if source.name == "products.cpp")
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    run([*compiler, *flags, "-Wno-psabi", "-c", source], cwd=folder)
    run([*compiler, "-shared", "products.o", "-o", "products.so"], cwd=folder)
    library = build.loaded(folder / "products.so")
    for name in build.ARGUMENTS:
        if not hasattr(library, name):  # of kernels.cpp
            setattr(library, name, getattr(kernels, name))
    return library


@pytest.fixture
def emulated_amx(emulated_library, monkeypatch):
    """A processor with AMX, however slow."""
    monkeypatch.setattr(native, "kernels", lambda: emulated_library)
    has_linear = native.has_linear
    has_linear.cache_clear()
    yield
    has_linear.cache_clear()
