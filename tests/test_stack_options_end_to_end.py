"""Branch warm-up, shared layers and GPAS through the real commands: resume, validate, generate, average."""

import re

import pytest
import torch
from end_to_end import NARROW, SIZES, TRAINING, hypotheses, make_data, weights

OPTIONS = {
    "progressive": ["--branch-warmup", "6"],
    "equal": ["--branch-warmup", "9", "--branch-warmup-schedule", "equal", "--connection", "post"],
    "shared": ["--share-layers", "cycle_rev", "--unique-layers", "1", "--checkpoint-activations"],
    "gpas": ["--connection", "pre", "--connection-options", "gpas=true"],
}
VALID_LOSS = r"valid on 'valid' subset \| loss ([\d.]+)"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def last(log: str) -> str:
    return re.findall(VALID_LOSS, log)[-1]


@pytest.mark.parametrize("options", OPTIONS)
def test_resumed_in_the_middle_it_is_as_if_never_stopped(options, data, tmp_path, here):
    train = ["train", data, *NARROW, *TRAINING, *OPTIONS[options], "--save-interval-updates", "3", "--save-dir"]
    log = here(*train, tmp_path / "once", "--max-update", "6")
    here(*train, tmp_path / "twice", "--max-update", "3")
    here(*train, tmp_path / "twice", "--max-update", "6")
    once, twice = (weights(tmp_path / name / "checkpoint_last.pt") for name in ("once", "twice"))
    assert all(torch.equal(once[name], twice[name]) for name in once) and once.keys() == twice.keys()
    checkpoint = tmp_path / "once" / "checkpoint_last.pt"
    validated = here("validate", data, "--path", checkpoint, "--max-tokens", "400", "--cpu")
    assert last(validated) == last(log), "the log's validation loss is the checkpoint's"
    generated = here("generate", data, "--path", checkpoint, "--beam", "2", "--max-tokens", "300", "--cpu")
    assert hypotheses(generated).keys() == set(range(SIZES["test"]))


def test_a_warmup_matters_to_a_checkpoint_and_its_average(data, tmp_path, here):
    train = ["train", data, *NARROW, *TRAINING, *OPTIONS["progressive"], "--save-interval-updates", "6"]
    here(*train, "--save-dir", tmp_path, "--max-update", "12")
    early, late = (next(tmp_path.glob(f"checkpoint_*_{updates}.pt")) for updates in (6, 12))
    full = torch.load(early, weights_only=False)
    full["optimizer_history"][-1]["num_updates"] = 1000
    torch.save(full, tmp_path / "pretends.pt")
    losses = [
        last(here("validate", data, "--path", path, "--max-tokens", "400", "--cpu"))
        for path in (early, tmp_path / "pretends.pt")
    ]
    assert losses[0] != losses[1], "the warm-up of the checkpoint is not read"
    log = here("average-checkpoints", "--inputs", late, early, "--output", tmp_path / "average.pt")
    assert f"{early} is in its branch warm-up (6 of 11 updates)" in log and f"{late} is in" not in log
    again = here(*train, "--save-dir", tmp_path, "--max-update", "1", "--reset-optimizer", "--reset-dataloader",
                 "--reset-meters", "--reset-lr-scheduler")  # fmt: skip
    assert "branch warm-up: begins again at update 0" in again


def test_another_warmup_or_sharing_is_another_model(data, tmp_path, here, capsys):
    train = ["train", data, *NARROW, *TRAINING, "--save-dir", tmp_path, "--max-update"]
    here(*train, "1", *OPTIONS["progressive"])
    for options in ([], ["--branch-warmup", "7"], OPTIONS["shared"]):
        refused = here(*train, "2", *options, status=2)
        assert "holds another model" in refused and "--branch-warmup, --share-layers)" in refused
