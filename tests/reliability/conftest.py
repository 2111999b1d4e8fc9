"""A tiny corpus and a tiny trained model; commands run inside this process."""

import shutil
import sys
from pathlib import Path

import pytest
from end_to_end import NARROW, TRAINING, make_data
from fairseq import checkpoint_utils
from reliability.strangers import LM, LM_CUTOFFS, LM_PLAIN, LM_SIZES, entry_points

from b2t_fairseq import cli
from b2t_fairseq.checkpoints import integrity, trust
from b2t_fairseq.checkpoints.loading import load_checkpoint

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


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Data, and a translation and a language model of two updates each."""
    folder = tmp_path_factory.mktemp("untrusted")
    data = make_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)
        assert (
            cli.main(["train", str(data), *NARROW, *TRAINING, "--max-update", "2", "--save-dir", str(folder / "mt")])
            == 0
        )
        texts = [f"--{split}pref={folder / split}.en" for split in ("train", "valid", "test")]
        assert cli.main(["preprocess", "--only-source", *texts, "--destdir", str(folder / "lm-bin")]) == 0
        sizes = (*LM, *LM_SIZES, *LM_PLAIN, *LM_CUTOFFS, "--criterion", "adaptive_loss", "--ddp-backend=legacy_ddp")
        training = ("--optimizer", "adam", "--lr", "0.003", "--max-tokens", "400", "--cpu", "--max-update", "2")
        lm = [*sizes, *training, "--num-workers", "0"]
        assert cli.main(["train", str(folder / "lm-bin"), *lm, "--save-dir", str(folder / "lm")]) == 0
    return folder


@pytest.fixture
def state(folder):
    """The translation model's checkpoint, to be changed."""
    return load_checkpoint(folder / "mt" / "checkpoint_last.pt")


@pytest.fixture(autouse=True)
def own_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    yield
    trust.trust_checkpoints(False)


@pytest.fixture
def command(folder, tmp_path, monkeypatch, capsys):
    """Give a checkpoint to one of the places that load one; status and last line of stderr."""

    def run(name: str, path: Path, *further: str) -> tuple[int, str]:
        capsys.readouterr()
        (tmp_path / "sources").write_text("a man sleeps\n")
        arguments = [str(a) for a in entry_points(folder, tmp_path, path)[name]]
        try:
            status = cli.main([*arguments, *further])
        except SystemExit as left:
            status = left.code
        lines = capsys.readouterr().err.strip().splitlines()
        return status, lines[-1] if lines else ""

    return run


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that `CODE` makes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"
