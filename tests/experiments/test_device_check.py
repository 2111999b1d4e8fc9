"""`b2t-fairseq device-check`: on the CPU here; what is wrong must fail."""

import json

import pytest
import torch

from b2t_fairseq import UserError, cli
from b2t_fairseq.experiments.device_check import bench, command, costs, numbers, report, training
from b2t_fairseq.experiments.device_check.bench import Case, Figure, NotRun


def check(tmp_path, *words):
    status = cli.main(["device-check", "--device", "cpu", "--output", str(tmp_path / "out"), *words])
    written = json.loads((tmp_path / "out/report.json").read_text())
    cases = {f"{case['check']}: {case['case']}": case for case in written["cases"]}
    return status, cases, (tmp_path / "out/REPORT.md").read_text()


@pytest.fixture
def few(monkeypatch):
    """Fewer cases: no options, no recomputation."""
    monkeypatch.setattr(numbers, "OPTIONS", numbers.OPTIONS[-1:])
    monkeypatch.setattr(training, "STREAMS", ("b2t",))


def test_everything_small_is_right_here(few, tmp_path, capsys):
    status, cases, text = check(
        tmp_path, "--connections", "b2t,arch:transformer", "--checks", "numbers,decoding,training,recompute,fused"
    )
    assert status == 0, text
    assert "FAILED" not in text and " ok, " in capsys.readouterr().out
    for dtype in ("float32", "float16", "bfloat16"):
        figures = {figure["name"]: figure for figure in cases[f"numbers: b2t, {dtype}"]["figures"]}
        assert figures.keys() == {"output", "gradients", "incremental"}
        assert all(figure["value"] <= figure["most"] for figure in figures.values())
        assert dtype == "float32" or figures["output"]["value"] > 1e-5  # it was half precision
    assert cases["training: b2t, fp16"]["outcome"] == "not run" and cases["training: b2t, bf16"]["outcome"] == "ok"
    assert "decoding: arch:transformer, beam 4, float32" in cases
    assert "| numbers: b2t, float32 | ok | output " in text


@pytest.mark.parametrize(("method", "given"), numbers.OPTIONS)
def test_every_option_makes_another_model(method, given):
    plain, changed = (bench.small_model(method, options)[0].signature for options in ({}, given))
    assert plain != changed


def test_wrong_numbers_fail(few, tmp_path, monkeypatch):
    whole = numbers.pair

    def one_gain_lost(*given):
        reference, model, sample = whole(*given)
        with torch.no_grad():
            model.decoder.layers[0].final_layer_norm.weight.fill_(1.0)
        return reference, model, sample

    monkeypatch.setattr(numbers, "pair", one_gain_lost)
    status, cases, text = check(tmp_path, "--connections", "b2t", "--checks", "numbers")
    assert status == 1 and "## Failed" in text
    assert {case["outcome"] for name, case in cases.items() if name.endswith("float32")} == {"FAILED"}


def test_wrong_gradients_of_recomputation_fail(few, tmp_path, monkeypatch):
    from b2t_fairseq.layers import stack

    whole = stack.recomputed
    monkeypatch.setattr(stack, "recomputed", lambda *given, **named: whole(*given, **named) * 1.01)
    status, cases, _ = check(tmp_path, "--connections", "b2t", "--checks", "recompute")
    assert status == 1 and cases["recompute: b2t --checkpoint-activations, float32"]["outcome"] == "FAILED"


def test_ours_calls_no_more_operators_than_stock(tmp_path):
    status, cases, _ = check(tmp_path, "--connections", "b2t", "--checks", "calls")
    assert status == 0
    assert cases.keys() == {
        "calls: update, post",
        "calls: update, b2t",
        "calls: decoding, post",
        "calls: decoding, b2t",
        "calls: update, b2t --optimizer=adam_fused",
    }
    fused, plain = (
        cases[f"calls: update, b2t{more}"]["figures"][0]["value"] for more in (" --optimizer=adam_fused", "")
    )
    assert fused < plain / 2


def test_operators_are_counted_and_views_are_not():
    x = torch.ones(2, 3)
    with costs.Calls() as counted:
        x.t().unsqueeze(0) + 1
    assert counted.count == 1


def test_memory_is_only_counted_on_a_gpu_and_errors_are_outcomes():
    def memory():
        raise NotRun("no GPU")

    def broken():
        raise ValueError("first\nsecond")

    outcomes = [command.outcome_of(Case("memory", "a", run)) for run in (memory, broken, lambda: [])]
    found = [(outcome.outcome, outcome.text) for outcome in outcomes]
    assert found == [("not run", "no GPU"), ("FAILED", "ValueError: first"), ("ok", "")]
    assert report.summary(outcomes) == "1 ok, 1 FAILED, 1 not run"
    assert "not finished" not in report.markdown({"name": "x"}, outcomes, 3)
    assert " s; **34 of 37 cases are not finished**\n" in report.markdown({"name": "x"}, outcomes, 37)


def test_nan_is_never_right():
    nan = float("nan")
    assert not Figure("x", nan, 1.0).is_right and Figure("x", 1.0, 1.0).is_right and Figure("x", 2.0).is_right
    x = torch.tensor([1.0, nan])
    assert not Figure("x", bench.distance(x, torch.ones(2)), 1.0).is_right
    assert not Figure("x", training.largest_difference([1.0, nan, 1.0], [1.0, 1.0, 1.0]), 1.0).is_right
    assert report.figure_as_json(Figure("x", nan))["value"] == "nan"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checks", "nmbers"], "--checks nmbers: choose from numbers"),
        (["--device", "cuda"], "--device cuda: torch sees no GPU"),
        (["--connections", "pst"], "'pst' is unknown"),
    ],
)
def test_mistakes_are_one_line(words, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        command.parse(words)


@pytest.mark.slow
def test_commands_workers_and_speed(few, tmp_path, monkeypatch):
    monkeypatch.setitem(command.SPEEDS, "cpu", (64, ("1-1",), 56))
    monkeypatch.setattr(costs, "VOCABULARY", 200)
    monkeypatch.setattr(costs, "WORDS", 4)
    status, cases, text = check(
        tmp_path, "--connections", "b2t", "--checks", "commands,workers,speed,memory", "--pairs", "1"
    )
    assert status == 0, text
    assert cases["workers: 2 against one, float32"]["figures"][0]["value"] <= 3e-4
    assert cases["commands: train and generate, float32"]["figures"][0]["value"] == 0
    ratio, *_ = cases["speed: training, b2t 1-1, float32"]["figures"]
    assert ratio["value"] > 0 and cases["memory: b2t 6-6, bf16"]["outcome"] == "not run"
