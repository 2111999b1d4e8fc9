"""`python -m benchmarks` on narrow models."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from b2t_fairseq.common.command_line import guarded
from b2t_fairseq.common.errors import UserError
from benchmarks import cli
from benchmarks.cases import Case, arch_of, decoding, sizes, training
from benchmarks.cli import main
from benchmarks.sides import Side

ROOT = Path(__file__).resolve().parents[2]


def narrow(side):
    """The same side with 300 words and one layer of width 64."""
    options = {**side.options, "vocabulary": 300}
    options["arguments"] = options["arguments"] + sizes(64, encoder=1, decoder=1)
    return Side(side.name, side.workload, options, side.plugin, side.fresh)


def case_of(name, make, *given, **more):
    return Case(name, *(narrow(make(arch, *given)) for arch in (arch_of("post"), "transformer")), **more)


TINY = [
    case_of("train-tiny", training, 6, 64, 100, shapes=((64, 64, 64),)),
    case_of("decode-tiny", decoding, 6, 2, 3),
]
BROKEN = Side("ours", "training", {"arguments": ["--arch=no_such"], "tokens": 9, "vocabulary": 9})
CASES = {case.name: case for case in (*TINY, Case("broken", BROKEN, TINY[0].baseline))}


@pytest.mark.slow
def test_training_and_decoding_are_measured_printed_and_written(tmp_path, capsys):
    files = ["--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]
    status = main(["--repeats=2", "--threads=1", *files, "train-tiny", "broken", "decode-tiny"], CASES)
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())
    train, decode = found["cases"]["train-tiny"], found["cases"]["decode-tiny"]
    assert train["pairs"] == 2 and train["ours"]["parameters"] == train["baseline"]["parameters"]
    for side in (train["ours"], train["baseline"]):
        assert len(side["all_seconds"]) == 2 and side["tokens"] > 50 and side["peak_mb"] > 0
        expected = 6 * side["parameters"] * side["tokens_per_second"] / (side["gemm_peak"] * 1e9)
        assert side["of_gemm_peak"] == pytest.approx(expected)
    assert abs(train["ours"]["loss"] - train["baseline"]["loss"]) < 0.5
    assert decode["identical_hypotheses"] and decode["score_difference"] < 1e-4
    assert decode["ours"]["lengths"][0] < decode["ours"]["lengths"][1]
    assert found["machine"]["threads"] == 1 and found["machine"]["torch"] and found["machine"]["plugin"]

    assert status == 1 and "no_such' is not an architecture" in found["cases"]["broken"]["failed"]
    assert (tmp_path / "r.md").read_text().strip() == printed.strip()
    assert "| train-tiny " in printed and "hypotheses identical" in printed and "broken failed: ours: " in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.md"]


def test_mistakes_are_one_sentence(capsys, tmp_path):
    places = ["--json", str(tmp_path / "no" / "x.json")], ["--markdown", str(tmp_path)], ["--json", "/proc/x.json"]
    no_gpu = [] if torch.cuda.is_available() else [["--device", "cuda"]]
    for wrong in (["no-such"], *places, *no_gpu):
        assert guarded(lambda: main(wrong)) == 2  # noqa: B023
        said = capsys.readouterr()
        assert said.err.startswith("error: ") and said.err.count("\n") == 1 and wrong[-1] in said.err and not said.out


def test_what_is_finished_is_printed_when_the_disk_is_full(capsys, monkeypatch, tmp_path):
    def full(results, *_) -> None:
        if len(results) == 2:
            raise UserError("r.json: no space left")

    monkeypatch.setattr(cli, "measure", lambda case, *_: {"failed": "measured by nobody"})
    monkeypatch.setattr(cli.report, "write_all", full)
    names = [case.name for case in TINY]
    assert guarded(lambda: main(["--json", str(tmp_path / "r.json"), *names], CASES)) == 2
    said = capsys.readouterr()
    assert all(f"{name} failed: measured by nobody" in said.out for name in names)
    assert said.err.endswith("error: r.json: no space left\n")


def test_the_list_needs_no_measurement(capsys):
    assert main(["--list", "startup"]) == 0
    assert capsys.readouterr().out == "startup-18-18-w512\n"


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(tmp_path):
    result = tmp_path / "r.json"
    command = [sys.executable, "-m", "benchmarks", "gemm-1024x128x384", "train-6-6-w512-t1024"]
    given = ["--threads=1", "--repeats=1", "--warmup=0", f"--json={result}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen([*command, *given], cwd=ROOT, **pipes)
    while not result.exists():
        assert running.poll() is None, running.stderr.read()
    running.send_signal(signal.SIGINT)
    printed, said = running.communicate(timeout=60)
    assert running.returncode == 130 and "| gemm-1024x128x384 " in printed
    assert "interrupted: 1 of 2 cases" in said and "Traceback" not in said
    assert list(json.loads(result.read_text())["cases"]) == ["gemm-1024x128x384"]
