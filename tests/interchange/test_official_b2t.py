"""Checkpoints that the B2T authors' own code has written, against that code's own outputs (B2T_DATA/official_b2t)."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils

from b2t_fairseq.average_checkpoints import average
from b2t_fairseq.checkpoints.signature import signature_of

FOLDER = Path(os.environ.get("B2T_DATA", "nowhere")) / "official_b2t"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="B2T_DATA is not set, or has no official_b2t")
PAD = 1
SIGNATURES = {
    "b2t_3_3_averaged": "connection:b2t|init:rescale|layers:3-3|",
    "post_3_3": "connection:post|init:default|layers:3-3|",
    "pre_3_3": "connection:pre|init:default|layers:3-3|",
    "b2t_no_ln_3_2": "connection:b2t_no_ln|init:rescale|layers:3-2|",
    "b2t_no_ln_final_3_3": "connection:b2t_no_ln(final_norm=true)|init:rescale|layers:3-3|",
    "b2t_separate_3_3": "connection:b2t|init:rescale|layers:3-3|",
    "lm_b2t_adaptive_3": "connection:b2t|init:rescale|layers:3|",
    "lm_pre_3": "connection:pre(final_norm=false)|init:default|layers:3|",
}
PAIRS = [name for name in SIGNATURES if not name.startswith("lm")]
MODELS = [name for name in SIGNATURES if name.startswith("lm")]


@pytest.fixture(scope="module")
def expected():
    return json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def load(path, data):
    overrides = {"data": str(data), "plasma_path": "/tmp/plasma"}
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides=overrides)
    return model.eval(), task


def log_probs(model, source, before, target):
    out = model(source, None, before) if hasattr(model, "encoder") else model(before)
    # with targets, an adaptive softmax leaves 0 for words of other clusters than theirs
    return model.get_normalized_probs(out, log_probs=True, sample={"target": target})


def token_log_probs(model, task):
    """Of every target token of the test set, one sentence at a time."""
    if not hasattr(model, "encoder"):
        task.args.use_plasma_view = False  # fairseq's shared memory, which a task of an old checkpoint asks for
    task.load_dataset("test")
    values = []
    for number in range(len(task.dataset("test"))):
        sample = task.dataset("test").collater([task.dataset("test")[number]])
        inputs = sample["net_input"]
        before = inputs.get("prev_output_tokens", inputs["src_tokens"])
        found = log_probs(model, inputs["src_tokens"], before, sample["target"])
        values.append(found.gather(2, sample["target"].unsqueeze(2)).flatten())
    return torch.cat(values)


@pytest.mark.parametrize("name", SIGNATURES)
def test_log_probabilities(name, expected, tmp_path, here):
    data, theirs = FOLDER / expected[name]["data"], np.load(FOLDER / f"{name}.expected.npz")
    values = {key: torch.from_numpy(theirs[key]) for key in theirs.files}
    assert SIGNATURES[name] in here("convert", FOLDER / f"{name}.pt", tmp_path / "ours.pt", "--data", data)
    results = []
    for path in (FOLDER / f"{name}.pt", tmp_path / "ours.pt"):
        model, task = load(path, data)
        assert model.signature.startswith(SIGNATURES[name])
        source, target = values["src_tokens"], values["target"]
        with torch.no_grad():
            found = log_probs(model, source, values.get("prev_output_tokens", source), target)
            results.append(found)
            assert (found - values["log_probs"])[target.ne(PAD)].abs().max() <= 1e-5
            if hasattr(model, "encoder"):
                encoded = model.encoder(source)["encoder_out"][0]
                assert (encoded - values["encoder_out"])[source.T.ne(PAD)].abs().max() <= 1e-5
            tokens = token_log_probs(model, task)
            assert len(tokens) == values["token_counts"].sum()
            assert (tokens - values["token_log_probs"]).abs().max() <= 1e-5
    assert torch.equal(*results)


@pytest.mark.parametrize("name", PAIRS)
def test_hypotheses(name, expected, here):
    log = here("generate", FOLDER / expected[name]["data"], "--path", FOLDER / f"{name}.pt", "--beam", "4",
               "--lenpen", "0.6", "--max-sentences", "16", "--cpu")  # fmt: skip
    found = {n: (float(score), text) for n, score, text in re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", log, re.MULTILINE)}
    theirs = expected[name]["hypotheses"]
    assert found.keys() == theirs.keys() and len(found) == 50
    for number, (score, text) in found.items():
        assert text == theirs[number]["text"]
        assert score == pytest.approx(theirs[number]["score"], abs=1e-4)


@pytest.mark.parametrize("name", PAIRS)
def test_validation_loss(name, expected, here):
    log = here("validate", FOLDER / expected[name]["data"], "--path", FOLDER / f"{name}.pt", "--max-sentences", "16",
               "--valid-subset", "valid", "--cpu")  # fmt: skip
    theirs = expected[name]["valid"]
    assert f"loss {theirs['loss']} | nll_loss {theirs['nll_loss']} | ppl {theirs['ppl']} " in log


@pytest.mark.parametrize("name", MODELS)
def test_perplexity(name, expected, here):
    log = here("eval-lm", FOLDER / "data-bin-lm", "--path", FOLDER / f"{name}.pt", "--max-sentences", "16", "--cpu",
               "--tokens-per-sample", "128", "--sample-break-mode", "eos", "--gen-subset", "test")  # fmt: skip
    theirs = expected[name]["eval_lm_test"]
    assert f"Loss (base 2): {theirs['loss']}, Perplexity: {theirs['ppl']}" in log


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_average_of_one_is_what_it_is(name, expected):
    assert signature_of(average([FOLDER / f"{name}.pt"])).startswith(SIGNATURES[name])
