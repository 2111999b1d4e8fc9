"""The user's methods, architectures and checkpoints among the cases."""

import json
from argparse import Namespace

import pytest
import torch
from end_to_end import own_method

from b2t_fairseq import UserError
from benchmarks import cases
from benchmarks.cli import main


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    with own_method(tmp_path_factory.mktemp("code") / "timed_method.py", "timed") as path:
        yield path


def test_an_own_connection_and_an_architecture_are_cases(mine, capsys):
    words = ["growth-connection-timed", "growth-connection-arch:transformer_iwslt_de_en"]
    assert main(["--list", *words, "--connection-module", str(mine)]) == 0
    assert capsys.readouterr().out.split() == words
    known = cases.with_own({}, words)
    ours, stock = (known[word].ours for word in words)
    assert ours.plugin and ours.options["arguments"][-2:] == ["--connection-module", str(mine)]
    assert not stock.plugin and stock.options["arguments"][0] == "--arch=transformer_iwslt_de_en"
    with pytest.raises(UserError, match="did you mean"):
        cases.with_own({}, ["growth-connection-arch:transformer_iwslt"])


def test_a_checkpoint_is_compared_with_post_ln_of_its_sizes(tmp_path):
    sizes = {"layers": 3, "embed_dim": 32, "ffn_embed_dim": 48, "attention_heads": 2}
    model = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sizes.items()}
    model |= {"arch": "transformer_peri_6_6_tiny", "connection": "peri", "norm": "rms"}
    torch.save({"args": Namespace(**model), "model": {}}, tmp_path / "a.pt")
    case = cases.checkpoint_case(f"checkpoint:{tmp_path / 'a.pt'}")
    ours, post = (side.options["arguments"] for side in (case.ours, case.baseline))
    assert "--arch=transformer_peri_6_6" in ours and "--norm=rms" in ours and "--norm=rms" not in post
    for arguments in (ours, post):
        last = dict(word.split("=", 1) for word in arguments if "=" in word)
        assert last["--encoder-layers"] == "3" and last["--decoder-ffn-embed-dim"] == "48"
    torch.save({"args": Namespace(arch="transformer_lm"), "model": {}}, tmp_path / "lm.pt")
    with pytest.raises(UserError, match="only a translation model's speed"):
        cases.checkpoint_case(f"checkpoint:{tmp_path / 'lm.pt'}")


@pytest.mark.slow
def test_an_own_connection_is_measured(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "VOCABULARY", 300)
    monkeypatch.setattr(cases, "training", small(cases.training))
    given = ["--repeats=1", "--warmup=0", "--threads=1", f"--json={tmp_path / 'r.json'}"]
    assert main([*given, "growth-connection-timed", "--connection-module", str(mine)]) == 0
    measured = json.loads((tmp_path / "r.json").read_text())["cases"]["growth-connection-timed"]
    assert measured["ours"]["name"] == "timed" and measured["ratio"] > 0
    # no layer norms, and a scalar for each of the five sub-layers instead
    norms = 2 * 64 * (2 + 3)
    assert measured["ours"]["parameters"] == measured["baseline"]["parameters"] - norms + 5


def small(training):
    """Return `training` with one layer in place of 18, and few tokens."""
    return lambda arch, depth, width, tokens, *more, **named: training(arch, 1, width, 100, *more, **named)
