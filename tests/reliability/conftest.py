"""A tiny corpus and a tiny trained model; commands run inside this process."""

import shutil
from pathlib import Path

import pytest
from end_to_end import NARROW, TRAINING, make_data
from fairseq import checkpoint_utils

from b2t_fairseq import cli
from b2t_fairseq.checkpoints import integrity

SAVING = ["--save-interval-updates", "2", "--no-epoch-checkpoints"]


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Binarised sentences."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def training(data) -> list[str]:
    """The command line of a training that saves every second update, without `--save-dir` and `--max-update`."""
    return ["train", str(data), *NARROW, *TRAINING, *SAVING]


@pytest.fixture(scope="session")
def folder_of_6(training, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert cli.main([*training, "--save-dir", str(folder), "--max-update", "6"]) == 0
    del checkpoint_utils.save_checkpoint.best
    return folder


@pytest.fixture
def trained(folder_of_6, tmp_path) -> Path:
    """Checkpoints of updates 2, 4 and 6, the best and the last; each test has its own."""
    return Path(shutil.copytree(folder_of_6, tmp_path / "trained"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(integrity, "WAIT", 0)


@pytest.fixture(autouse=True)
def no_best_score():
    """fairseq keeps the best score in its function, so that the next training of this process would know it."""
    yield
    if hasattr(checkpoint_utils.save_checkpoint, "best"):
        del checkpoint_utils.save_checkpoint.best
