"""The scripts of the paper's scale: help, dry runs, and the SLURM job with a stand-in for SLURM."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from b2t_fairseq.experiments.tasks import PAPER_CORPORA

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [f"{kind}_{task}.sh" for kind in ("train", "evaluate") for task in PAPER_CORPORA]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_only_names_its_command_and_its_corpus(name):
    kind, _, corpus = name.removesuffix(".sh").partition("_")
    *_, last = lines = (ROOT / "scripts" / name).read_text(encoding="utf-8").splitlines()
    assert last == f'b2t_command paper-{kind} {corpus} "$@"'
    assert len(lines) < 10


@pytest.mark.slow
def test_help_is_the_commands_own():
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "COLUMNS": "1000"}
    command = ["bash", ROOT / "scripts" / "train_wmt_ende.sh", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0 and done.stdout.startswith("usage: bash scripts/train_wmt_ende.sh") and not done.stderr
    assert "--python PYTHON" in done.stdout and "--stop-after UPDATES" in done.stdout
    for name, (_, corpus) in PAPER_CORPORA.items():
        assert f"{name}: {', '.join(corpus.depths)} (default: {corpus.default_depth})" in done.stdout


@pytest.mark.slow
def test_a_dry_run_prints_fairseqs_command_and_makes_nothing(tmp_path):
    (tmp_path / "bin").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": path}
    script = ["bash", ROOT / "scripts" / "train_gigaword.sh", "--layers", "6-6", "--gpus=4", "--dry-run"]
    output = ["--output", tmp_path / "with spaces", "--", "--patience", "3"]
    done = subprocess.run([*script, *output], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    first, command = done.stdout.splitlines()
    assert first == "# tokens per update: 229,376 = 4 GPUs x max-tokens 3584 x update-freq 16"
    assert "--arch transformer_b2t_6_6 " in command and command.endswith("--fp16 --patience 3")
    assert f"--save-dir '{tmp_path}/with spaces/checkpoints'" in command and not (tmp_path / "with spaces").exists()


@pytest.fixture
def slurm(tmp_path):
    """Programs with SLURM's names that write down what they were asked; srun leaves with the status in a file."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    log = f'echo "$(basename "$0") $*" >> "{folder}/log"'
    programs = {
        "scontrol": f'{log}\nif [ "$1" = show ]; then printf "first\\nsecond\\n"; fi',
        "srun": f'{log}\necho "$MASTER_ADDR" >> "{folder}/log"\necho $$ > "{folder}/pid"\n'
        f'sleep "$(cat "{folder}/seconds")" &\nsleeper=$!\n'
        f"trap 'kill $sleeper; exit 137' TERM\nwait $sleeper\n"
        f'exit "$(cat "{folder}/status")"',
        "scancel": f'{log}\nkill -TERM "$(cat "{folder}/pid")"',
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)

    paper = ["train.sbatch", "gigaword", "--layers", "6-6"]

    def start(status: int, seconds: float, script: Sequence[str] = paper) -> subprocess.Popen:
        (folder / "status").write_text(str(status))
        (folder / "seconds").write_text(str(seconds))
        facts = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "16"}
        environment = {**os.environ, **facts, "PATH": f"{folder}:{os.environ['PATH']}"}
        command = ["bash", f"scripts/slurm/{script[0]}", *script[1:]]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)

    start.log = folder / "log"
    start.pid = folder / "pid"
    return start


@pytest.mark.parametrize("status, again", [(0, False), (75, True), (3, False), (2, False), (1, False)])
def test_the_slurm_job_is_queued_again_when_it_has_a_checkpoint(slurm, status, again):
    process = slurm(status, 0)
    process.communicate(timeout=60)
    asked = slurm.log.read_text().splitlines()
    assert process.returncode == status
    assert asked[1:3] == [
        "srun --kill-on-bad-exit=1 bash scripts/train_gigaword.sh --nodes 2 --layers 6-6",
        "first",
    ]
    assert ("scontrol requeue 42" in asked) == again


def test_the_time_limit_asks_all_machines_to_stop_and_queues_again(slurm):
    process = slurm(0, 60)
    while not slurm.pid.exists() or not slurm.pid.read_text().strip():
        time.sleep(0.1)
    time.sleep(0.3)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert slurm.log.read_text().splitlines()[3:] == ["scancel --signal=TERM 42", "scontrol requeue 42"]


def test_a_training_on_ones_own_data_has_a_process_for_each_gpu(slurm):
    process = slurm(75, 0, ["own_data.sbatch", "my data", "--save-dir", "checkpoints"])
    process.communicate(timeout=60)
    asked = slurm.log.read_text().splitlines()
    assert process.returncode == 75 and asked[-1] == "scontrol requeue 42"
    python, _, rest = asked[1].removeprefix("srun --kill-on-bad-exit=1 ").partition(" ")
    assert python.endswith("python")
    assert rest == (
        "-m b2t_fairseq train my data --save-dir checkpoints --distributed-world-size 16 --distributed-port 20042"
    )


def test_a_training_on_no_data_is_refused(slurm):
    process = slurm(0, 0, ["own_data.sbatch"])
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2 and error.startswith("error: no arguments: ") and not slurm.log.exists()
