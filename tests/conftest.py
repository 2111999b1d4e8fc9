"""Settings for all tests: one thread, no plotting window; and the command line inside this process."""

import logging
import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from end_to_end import inside

from b2t_fairseq import patches

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
