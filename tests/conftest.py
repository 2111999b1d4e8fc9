"""Settings for all tests: one thread, no plotting window; and the command line inside this process."""

import logging
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

from b2t_fairseq import cli

torch.set_num_threads(1)
# a shell gives its background jobs an ignored SIGINT, which the programs under test would inherit
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def here(capsys, caplog):
    """`b2t-fairseq ...` inside this process, which saves the seconds of a start; its output and log."""
    caplog.set_level(logging.INFO)

    def run(*arguments, status: int = 0) -> str:
        capsys.readouterr(), caplog.clear()
        assert cli.main([str(a) for a in arguments]) == status
        printed = capsys.readouterr()
        return printed.out + caplog.text + (printed.err if status else "")

    return run
