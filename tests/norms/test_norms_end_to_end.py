"""Models of each kind of norm through the command lines: train, resume, average, decode, in one process and in two."""

import shutil
import sys

import pytest
import torch
from end_to_end import NARROW, SIZES, TRAINING, free_port, hypotheses, make_data, shell, weights

from b2t_fairseq.norms import NORMS, unified

NEW = tuple(kind for kind in NORMS if kind != "layer")
TRAIN = (*NARROW, *TRAINING, "--connection", "pre", "--save-interval-updates", "1", "--no-epoch-checkpoints")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", NEW)
def test_train_resume_average_and_generate(kind, data, tmp_path, here, monkeypatch):
    monkeypatch.setattr(unified, "WARM_UP", 2)  # so that windows and ratio take part
    monkeypatch.setattr(unified, "SHORTEST_WITHOUT_RATIO", 2)
    train = ("train", data, *TRAIN, "--norm", kind, "--save-dir")
    log = here(*train, tmp_path / "once", "--max-update", "8")
    assert f"signature: connection:pre(norm={kind})|" in log
    here(*train, tmp_path / "twice", "--max-update", "6")
    here(*train, tmp_path / "twice", "--max-update", "8")
    once, twice = (weights(tmp_path / name / "checkpoint_last.pt") for name in ("once", "twice"))
    assert same(once, twice)
    if kind == "un":
        assert {int(value) for name, value in once.items() if name.endswith("batches_seen")} == {5}

    average = tmp_path / "average.pt"
    last = ("--inputs", tmp_path / "once", "--num-update-checkpoints", "2", "--output", average)
    here("average-checkpoints", *last)
    mean = weights(average)
    two = [weights(path) for path in sorted((tmp_path / "once").glob("checkpoint_*_[78].pt"))]
    assert len(two) == 2
    assert mean.keys() == {name for name in once if name.rpartition(".")[2] not in unified.OF_TRAINING}
    for name in mean:
        assert torch.allclose(mean[name].float(), (two[0][name] + two[1][name]).float() / 2, atol=1e-6), name
    generated = here("generate", data, "--path", average, "--beam", "2", "--max-tokens", "300", "--cpu")
    assert hypotheses(generated).keys() == set(range(SIZES["test"]))

    refused = here(*train[:-3], "--save-dir", tmp_path / "twice", "--max-update", "9", status=2)
    assert "holds another model" in refused and f"norm={kind}" in refused


def test_an_average_begins_another_training(data, tmp_path, here):
    train = ("train", data, *TRAIN, "--norm", "un", "--save-dir")
    here(*train, tmp_path / "first", "--max-update", "2")
    average = tmp_path / "average.pt"
    last = ("--inputs", tmp_path / "first", "--num-update-checkpoints", "2", "--output", average)
    here("average-checkpoints", *last)
    here(*train, tmp_path / "second", "--max-update", "2", "--finetune-from-model", average)
    assert all(value.isfinite().all() for value in weights(tmp_path / "second" / "checkpoint_last.pt").values())


def test_two_processes_resume_as_if_never_stopped(data, tmp_path):
    """A worker with statistics of its own would have those of the first after the stop, and so other gradients."""

    def train(folder):
        launch = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2")
        options = (*TRAIN, "--norm", "un", "--checkpoint-activations", "--max-update", "5")
        two = ("--distributed-world-size", "2", "--save-dir", tmp_path / folder)
        port = ("--master_port", free_port(), "-m", "b2t_fairseq.cli", "train")
        return shell(*launch, *port, data, *options, *two).stdout

    assert "training on 2 devices" in train("once")
    (stopped,) = (tmp_path / "once").glob("checkpoint_*_2.pt")
    (tmp_path / "twice").mkdir()
    shutil.copyfile(stopped, tmp_path / "twice" / "checkpoint_last.pt")
    assert "@ 2 updates" in train("twice")
    assert same(*(weights(tmp_path / name / "checkpoint_last.pt") for name in ("once", "twice")))
