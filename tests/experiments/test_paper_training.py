"""Real trainings by paper-train, narrow, on CPUs: the same losses however the batch is made up; stops and resumes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from end_to_end import environment, make_data

from b2t_fairseq.checkpoints.loading import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *(f"--{side}-{name}={value}" for side in ("encoder", "decoder") for name, value in
      (("layers", 1), ("embed-dim", 16), ("ffn-embed-dim", 24), ("attention-heads", 2))),
    *("--cpu", "--dropout=0", "--max-tokens=100", "--required-batch-size-multiple=1", "--num-workers=1"),
    *("--log-interval=1", "--warmup-updates=4", "--fixed-validation-seed=1"),
]  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("paper data"))


def command(data: Path, output: Path, *further: str, gpus: int = 1) -> list[str]:
    ours = [sys.executable, "-m", "b2t_fairseq.cli", "paper-train", "wmt_ende", "--layers", "6-6", "--precision=fp32"]
    ours += ["--data", str(data), "--output", str(output), "--gpus", str(gpus), "--stop-after", "0"]
    return [*ours, "--", *TINY, *further]


def start(*arguments, **options) -> subprocess.Popen:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command(*arguments, **options), cwd=ROOT, env=environment(), **streams)


def finish(process: subprocess.Popen, status: int = 0, seconds: int = 240) -> str:
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == status, output[-4000:]
    return output


def losses(output: str) -> dict[int, float]:
    found = (json.loads(line) for line in re.findall(r"\| train_inner \| (\{.*\})", output))
    return {int(facts["num_updates"]): float(facts["loss"]) for facts in found}


def wait_for_update(process: subprocess.Popen, number: int) -> str:
    """Reads until the log of that update."""
    seen = ""
    for line in process.stdout:
        seen += line
        if losses(line).get(number) is not None:
            return seen
    raise AssertionError(seen[-4000:])


def test_one_process_with_four_steps_is_two_with_two(data, tmp_path):
    """The same effective batch: the same losses, and the same number of updates in an epoch."""
    one = finish(start(data, tmp_path / "one", "--max-update=8", "--update-freq=4"))
    two = finish(start(data, tmp_path / "two", "--max-update=8", "--update-freq=2", gpus=2))
    assert "training on 2 devices" in two and "400 = 1 GPU x" in one and "400 = 2 GPUs x" in two
    assert losses(one).keys() == losses(two).keys() == set(range(1, 9))
    assert losses(one) == pytest.approx(losses(two), abs=1e-4)
    # fairseq's log has three decimals; the parameters have more
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-4


def largest_difference(one: Path, other: Path) -> float:
    """Of any parameter of two runs' last checkpoints."""
    paths = [run / "checkpoints" / "checkpoint_last.pt" for run in (one, other)]
    first, second = (load_checkpoint(str(path))["model"] for path in paths)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_sigterm_saves_and_the_same_command_goes_on(data, tmp_path):
    """Stopped after some update and started again: the losses are those of a training that was never stopped."""
    common = ["--max-update=14", "--update-freq=1"]
    whole = losses(finish(start(data, tmp_path / "whole", *common, gpus=2)))
    stopped = start(data, tmp_path / "stopped", *common, gpus=2)
    seen = wait_for_update(stopped, 3)
    stopped.send_signal(signal.SIGTERM)
    first = seen + finish(stopped, status=75)
    updates = int(re.findall(r"stopped: as asked, after update (\d+)", first)[0])
    assert 3 <= updates < 14 and max(losses(first)) == updates - 1  # fairseq logs an update after it
    state = load_checkpoint(str(tmp_path / "stopped/checkpoints/checkpoint_last.pt"))
    assert state["optimizer_history"][-1]["num_updates"] == updates
    second = losses(finish(start(data, tmp_path / "stopped", *common, gpus=2)))
    assert min(second) == updates + 1  # not one update is done twice, none is lost
    del second[updates + 1]  # fairseq's meter goes on, too: this line averages the two updates around the stop
    together = {**losses(first), **second}
    assert together == pytest.approx({number: whole[number] for number in together}, abs=2e-3)
    assert largest_difference(tmp_path / "whole", tmp_path / "stopped") < 1e-6
    assert not (tmp_path / "stopped/checkpoints/preempted.json").exists()


def test_a_scheduler_that_signals_every_process_does_no_harm(data, tmp_path):
    """SIGTERM to torchrun, workers and data loaders at once, as SLURM does it."""
    process = start(data, tmp_path, "--max-update=500", "--update-freq=1", gpus=2)
    seen = wait_for_update(process, 2)
    for pid in [process.pid, *descendants(process.pid)]:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    assert "stopped: as asked, after update" in seen + finish(process, status=75)


@pytest.mark.parametrize("victim", ["a worker", "torchrun"])
def test_a_killed_process_ends_the_job(victim, data, tmp_path):
    process = start(data, tmp_path, "--max-update=5000", "--update-freq=1", "--save-interval-updates=2", gpus=2)
    wait_for_update(process, 3)
    family = descendants(process.pid)
    worker = next(pid for pid in family if "\0RANK=1\0" in environment_of(pid))
    began = time.monotonic()
    os.kill(worker if victim == "a worker" else family[0], signal.SIGKILL)
    output = finish(process, status=1, seconds=60)
    assert time.monotonic() - began < 60
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: a process of the training ended") and "the same command resumes from" in last
    assert not any(is_running(pid) for pid in family)


def test_a_diverging_training_ends_with_a_sentence(data, tmp_path):
    output = finish(
        start(data, tmp_path, "--max-update=50", "--update-freq=1", "--lr=1e38", "--warmup-init-lr=1e38"), 3
    )
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: training failed: ") and "NaN or infinite" in last


def descendants(pid: int) -> list[int]:
    """All processes below one, by /proc."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = []
    for child in children.get(pid, []):
        found += [child, *descendants(child)]
    return found


def is_running(pid: int) -> bool:
    """Not gone, and not a zombie that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def environment_of(pid: int) -> str:
    try:
        return "\0" + Path(f"/proc/{pid}/environ").read_text() if pid else ""
    except OSError:
        return ""
