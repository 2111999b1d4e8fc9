"""Pairs, ratios and processes, with a workload that answers from a script."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from b2t_fairseq.common import processes
from benchmarks.cases import CASES, DEFAULT, LOSS, LOSS_LM, counted, select, training, variants
from benchmarks.compare import Comparison, compare
from benchmarks.report import table
from benchmarks.sides import ROOT, Conditions, Side, SideFailed, start


def measured(seconds, **more):
    return {"seconds": seconds, "peak_mb": 10.0, **more}


def test_the_ratio_is_the_median_over_pairs_not_the_ratio_of_medians():
    ours, baseline = [measured(s) for s in (1, 4, 2)], [measured(s) for s in (3, 4, 5)]
    summary = Comparison(ours, baseline).summary()
    assert (summary["ratio"], summary["ratio_min"], summary["ratio_max"]) == (2.5, 1, 3)
    assert summary["ours"]["seconds"] == 2 and summary["baseline"]["all_seconds"] == [3, 4, 5]


def test_ratios_are_of_tokens_a_second():
    result = Comparison([measured(1, tokens=30)], [measured(2, tokens=20)])
    assert result.ratios == [3] and result.summary()["ours"]["tokens_per_second"] == 30


def decoded(hypotheses, scores):
    return measured(1, tokens=9, lengths=[2, 5], hypotheses=hypotheses, scores=scores)


def shown(result):
    summary = result.summary()
    summary["ours"]["name"] = summary["baseline"]["name"] = "x"
    return summary, table({"case": summary})


def test_identical_hypotheses_are_said_to_be_so_with_the_difference_of_their_scores():
    same, text = shown(Comparison([decoded("a", [-1.0, -2.0])], [decoded("a", [-1.0, -2.5])]))
    assert same["identical_hypotheses"] and same["score_difference"] == 0.5
    assert "hypotheses identical" in text and "5e-01" in text


def test_other_hypotheses_are_said_to_be_so():
    other, text = shown(Comparison([decoded("a", [-1.0]), decoded("b", [-1.0])], [decoded("a", [-1.0])] * 2))
    assert other["identical_hypotheses"] is False and other["score_difference"] is None
    assert "NOT identical" in text


def product(name, **options):
    return Side(name, "products", {"shapes": [[8, 8, 8]], "seconds": 0.001, **options}, plugin=False)


def test_sides_take_turns_and_warm_up(monkeypatch):
    turns = []

    class Silent:
        facts = {}

        def __init__(self, side):
            self.side = side

        def measure(self):
            turns.append(self.side.name)
            return measured(len(turns))

        def close(self):
            turns.append(f"{self.side.name} closed")

    monkeypatch.setattr("benchmarks.compare.start", lambda side, conditions: Silent(side))
    result = compare(product("A"), product("B"), repeats=3, warmup=1)
    assert turns[:8] == ["A", "B", "B", "A", "A", "B", "B", "A"] and len(turns) == 10
    assert [m["seconds"] for m in result.ours] == [4, 5, 8] and [m["seconds"] for m in result.baseline] == [3, 6, 7]


@pytest.mark.slow
def test_real_processes_measure_and_a_dying_one_says_why():
    result = compare(product("A"), product("B", dtype="bfloat16"), repeats=1, warmup=0)
    assert all(m["gflops"] > 0 and m["peak_mb"] >= 0 for m in (*result.ours, *result.baseline))
    with pytest.raises(SideFailed, match="(?s)^A: its process ended with status 1: .*no_such_type"):
        compare(product("A", dtype="no_such_type"), product("B"), repeats=1)


def test_cases_are_chosen_by_name_beginning_or_pattern():
    def names(*words):
        return [case.name for case in select(words, CASES)[0]]

    assert names("train-6-6-w512-t1024") == ["train-6-6-w512-t1024"]
    assert len(names("train")) == 49 and len(names("decode")) == 26 and len(names("train-*-fused")) == 15
    assert names("train-*-split") == [f"train-{what}-w512-t1024-split" for what in ("2-2", "6-6", "18-18", "lm-16")]
    assert names("decode-*-long") == ["decode-18-18-beam4-b16-long", "decode-18-18-beam4-b64-long"]
    assert names("startup", "startup-18-18-w512") == ["startup-18-18-w512"]
    assert select(["train", "nonsense", "tra"], CASES)[1] == ["nonsense", "tra"]
    assert set(DEFAULT) < set(CASES)


def test_both_sides_of_a_case_get_the_same_options():
    allowed = {option for loss in (LOSS, LOSS_LM) for _, options, _ in variants(loss, True) for option in options}
    assert len(allowed) == 5  # fused Adam, two fused losses, split products, bfloat16
    for case in CASES.values():
        ours, baseline = (json.dumps(side.options.get("arguments", [])[1:]) for side in (case.ours, case.baseline))
        extra = set(json.loads(ours)) - set(json.loads(baseline))
        assert extra <= {*allowed, "--checkpoint-activations", "--compile-layers"}, case.name
        is_foreign = case.baseline.name == "stock" or case.baseline.workload == "ctranslate2"
        assert case.baseline.plugin == (not is_foreign or case.baseline.workload == "calls"), case.name
    assert not training("transformer", 6, 512, 1024).plugin


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_measured_on_a_cpu_sees_no_gpu(device, monkeypatch, tmp_path):
    """There stock fairseq died at the first clipping of gradients."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    code = "import json, os; print(json.dumps(os.environ['CUDA_VISIBLE_DEVICES']), flush=True)"
    real = processes.start
    monkeypatch.setattr(processes, "start", lambda command, **kind: real([command[0], "-c", code], **kind))
    side = start(CASES["gemm-1024x128x384"].ours, Conditions(1, device, str(tmp_path)))
    side.close()
    assert side.facts == ("" if device == "cpu" else "3")


def in_a_new_process(code: str, check: bool = True) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check).stdout


@pytest.mark.slow
def test_ctranslate2_translates_the_same():
    pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed: pip install ctranslate2")
    case = CASES["ctranslate2-6-6-beam4-b16"]
    depth = ["--encoder-layers=1", "--decoder-layers=1"]
    ours, theirs = (
        replace(side, options={**side.options, "arguments": [*side.options["arguments"], *depth], "vocabulary": 300})
        for side in (case.ours, case.baseline)
    )
    found = compare(ours, theirs, repeats=1, warmup=0).summary()
    assert found["identical_hypotheses"] and found["score_difference"] < 1e-4 and found["ours"]["tokens"] > 32


@pytest.mark.slow
def test_operator_calls_are_counted_alike():
    sides = [counted(training(arch, 1, 64, 56)) for arch in ("transformer_post_6_6", "transformer")]
    found = compare(*sides, repeats=2, warmup=0).summary()
    assert found["ratio"] == found["ratio_min"] == found["ratio_max"]  # counts do not vary
    assert found["ours"]["calls"] > 100
    assert found["ratio"] == pytest.approx(found["baseline"]["calls"] / found["ours"]["calls"])


@pytest.mark.slow
def test_a_side_without_the_plugin_has_none_of_it():
    code = "import sys, benchmarks.sides, benchmarks.workloads, benchmarks.memory; print('b2t_fairseq' in sys.modules)"
    assert in_a_new_process(code) == "False\n"


@pytest.mark.slow
def test_the_peak_is_what_was_held_at_most():
    code = """
import torch
from benchmarks.memory import Peak
peak = Peak("cpu")
held = torch.ones(50_000_000)  # 200 MB
del held
print(peak.megabytes())
"""
    assert 190 < float(in_a_new_process(code)) < 260


@pytest.mark.slow
def test_no_side_outlives_a_benchmark_that_is_killed():
    code = """
import os, signal, tempfile
from benchmarks.cases import CASES
from benchmarks.sides import Conditions, start
side = start(CASES["gemm-1024x128x384"].ours, Conditions(1, "cpu", tempfile.mkdtemp()))
print(side.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    pid = int(in_a_new_process(code, check=False))
    for _ in range(50):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the side still ran after 5 s")
