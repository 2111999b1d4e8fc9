"""A copy of a checkpoint is whole or not there at all."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from fairseq.file_io import PathManager


@pytest.fixture
def files(tmp_path):
    old, new = tmp_path / "checkpoint_last.pt", tmp_path / "checkpoint2.pt"
    torch.save({"step": 1, "w": torch.zeros(1000)}, old)
    torch.save({"step": 2, "w": torch.ones(1000)}, new)
    return new, old


def half(source, target):
    content = Path(source).read_bytes()
    Path(target).write_bytes(content[: len(content) // 2])


def test_copy_replaces(files, tmp_path):
    assert PathManager.copy(str(files[0]), str(files[1]), overwrite=True)
    assert torch.load(files[1])["step"] == 2
    assert sorted(os.listdir(tmp_path)) == ["checkpoint2.pt", "checkpoint_last.pt"]


def test_kill_in_the_middle_of_a_copy(files):
    child = os.fork()
    if child == 0:
        shutil.copyfile = lambda s, t: (half(s, t), os.kill(os.getpid(), signal.SIGKILL))
        PathManager.copy(str(files[0]), str(files[1]), overwrite=True)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert torch.load(files[1])["step"] == 1
    assert PathManager.copy(str(files[0]), str(files[1]), overwrite=True)  # over the leftover of the killed one
    assert torch.load(files[1])["step"] == 2


def test_failure_leaves_the_old_file_and_no_other(files, tmp_path, monkeypatch):
    def full_disk(source, target):
        half(source, target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full_disk)
    with pytest.raises(OSError, match="No space"):
        PathManager.copy(str(files[0]), str(files[1]), overwrite=True)
    assert torch.load(files[1])["step"] == 1
    assert sorted(os.listdir(tmp_path)) == ["checkpoint2.pt", "checkpoint_last.pt"]
