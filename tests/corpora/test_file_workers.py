"""A worker that dies costs the file it died of, and nothing else."""

import os
import signal
from pathlib import Path

import pytest

from b2t_fairseq.corpora.speech.file_workers import CHUNK, in_processes

pytestmark = pytest.mark.slow


def name_or_death(path: Path) -> str:
    if path.name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def test_only_the_deadly_file_is_lost_and_order_is_kept():
    names = [f"{number}.wav" for number in range(3 * CHUNK + 1)]
    names[2] = "deadly.wav"
    found = list(in_processes(name_or_death, [Path(name) for name in names], workers=2))
    assert found.pop(2) == "deadly.wav: reading it killed the process that did (for want of memory?)"
    assert found == names[:2] + names[3:]
