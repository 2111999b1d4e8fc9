"""Checkpoints of stock fairseq, and of our code before its packages moved, load, resume and give the same numbers."""

import gzip
import importlib
import json
import pickletools
import re
import zipfile

import pytest
import torch
from end_to_end import ROOT, hypotheses, weights
from fairseq.models.transformer import TransformerModel
from old_checkpoints import MODELS, TRAINING, log_probabilities, make_data

from b2t_fairseq.checkpoints.loading import load_checkpoint

OLD = ROOT / "tests" / "data" / "old_checkpoints"
EXPECTED = json.loads((OLD / "log_probabilities.json").read_text(encoding="utf-8"))
PAIRS = ("b2t", "stock")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The checkpoints, and the corpus that they were trained on in `data`."""
    folder = tmp_path_factory.mktemp("old")
    make_data(folder / "data")
    for name in MODELS:
        (folder / f"{name}.pt").write_bytes(gzip.decompress((OLD / f"{name}.pt.gz").read_bytes()))
    return folder


def assert_expected(found: list[list[float]], name: str) -> None:
    difference = torch.tensor(found).sub(torch.tensor(EXPECTED[name])).abs().max()
    assert difference <= 1e-6, difference


@pytest.mark.parametrize("name", MODELS)
def test_the_same_log_probabilities(name, folder):
    assert_expected(log_probabilities(folder / f"{name}.pt", folder / "data"), name)


@pytest.mark.parametrize("name", PAIRS)
def test_from_pretrained(name, folder):
    model = TransformerModel.from_pretrained(str(folder), f"{name}.pt", str(folder / "data")).models[0]
    saved = weights(folder / f"{name}.pt")
    assert all(torch.equal(value, saved[key]) for key, value in model.named_parameters())


@pytest.mark.parametrize("name", PAIRS)
def test_generate(name, folder, here):
    generate = ("generate", folder / "data", "--gen-subset", "valid", "--max-len-b", "5", "--cpu", "--path")
    assert hypotheses(here(*generate, folder / f"{name}.pt")).keys() == set(range(8))


def test_eval_lm(folder, here):
    log = here("eval-lm", folder / "data", "--gen-subset", "valid", "--path", folder / "language_model.pt", "--cpu",
               "--tokens-per-sample", "16")  # fmt: skip
    assert "Evaluated 60 tokens" in log  # 8 sentences of 3 to 10 tokens and their ends


@pytest.mark.parametrize(
    ("name", "options"),
    [*MODELS.items(), ("stock", [*MODELS["stock"], "--arch", "transformer_post_6_6_tiny"])],
    ids=[*MODELS, "stock by our Post-LN"],
)
def test_training_resumes(name, options, folder, tmp_path, here):
    train = ("train", folder / "data", *options, *TRAINING, "--max-update", "5")
    log = here(*train, "--restore-file", folder / f"{name}.pt", "--save-dir", tmp_path)
    assert re.search(r"Loaded checkpoint \S+ \(epoch 2 @ 3 updates\)", log)
    assert load_checkpoint(str(tmp_path / "checkpoint_last.pt"))["optimizer_history"][-1]["num_updates"] == 5
    before, after = weights(folder / f"{name}.pt"), weights(tmp_path / "checkpoint_last.pt")
    moved = max(float((after[key] - value).abs().max()) for key, value in before.items() if key in after)
    assert 0.005 < moved < 0.05, "two updates of Adam at a learning rate of 0.01"


@pytest.mark.parametrize("name", MODELS)
def test_no_checkpoint_needs_a_module_that_has_moved(name, folder):
    """Whatever of ours a checkpoint names can be imported from there, and is not an alias for a place it moved to."""
    (pickled,) = (n for n in zipfile.ZipFile(folder / f"{name}.pt").namelist() if n.endswith("/data.pkl"))
    operations = pickletools.genops(zipfile.ZipFile(folder / f"{name}.pt").read(pickled))
    names = {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}
    assert "torch._utils _rebuild_tensor_v2" in names
    for module, _, attribute in (entry.partition(" ") for entry in names if entry.startswith("b2t_fairseq")):
        assert getattr(importlib.import_module(module), attribute).__module__ == module
