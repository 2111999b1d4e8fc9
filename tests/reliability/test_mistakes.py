"""A mistake is one line on stderr, which names the option or file, and status 2. A traceback means a bug in us."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reliability import mistakes_world

from b2t_fairseq import cli
from b2t_fairseq.commands import table
from b2t_fairseq.common.errors import UserError, explain

TABLE = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8").splitlines()[1:]
HERE = str(Path(__file__).resolve().parents[2])


def cases():
    """The rows of `mistakes.txt`: a command line and what its one line must hold."""
    for row in TABLE:
        case, _, expected = row.partition(" => ")
        marks = [pytest.mark.slow] if case.startswith("~") else []
        yield pytest.param(case.lstrip("~"), expected, id=case.lstrip("~"), marks=marks)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder of tiny data, models and damaged files, made once."""
    folder, before = tmp_path_factory.mktemp("mistakes"), os.getcwd()
    os.chdir(folder)
    try:
        mistakes_world.make(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def inside(world, monkeypatch):
    """Run in the world, and leave no log handlers, arguments or outputs of a command behind."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    before, level = logging.root.handlers[:], logging.root.level
    yield world
    logging.root.handlers[:] = before
    logging.root.setLevel(level)
    for name in ("out", "outputs", "checkpoints", "x.pt"):
        if Path(name).is_dir():
            mistakes_world.shutil.rmtree(name)
        else:
            Path(name).unlink(missing_ok=True)


def test_the_table_is_long_and_covers_every_command():
    first = {mistakes_world.command(case.values[0])[0] for case in cases()}
    assert len(TABLE) == len(set(TABLE)) >= 250
    assert first >= {*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS}


@pytest.mark.parametrize("case, expected", list(cases()))
def test_a_mistake_is_one_line(case, expected, inside, capfd):
    command = mistakes_world.command(case)
    run = in_a_copy if command[0] == "hydra-train" else cli.main  # hydra sets up logging for a whole process
    assert run(command) == 2
    printed = capfd.readouterr()
    lines = [line for line in printed.err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d|[A-Z]+:\w", line)]
    assert len(lines) == 1 and lines[0].startswith("error: "), printed.err
    assert expected in lines[0]
    assert "Traceback" not in printed.err + printed.out


@pytest.mark.parametrize("case", ["T --dropout 0", "T --lr-scheduler inverse_sqrt", "T --patience 0 --seed 0"])
def test_what_is_not_a_mistake_runs(case, inside):
    assert cli.main(mistakes_world.command(case)) == 0


def in_a_copy(command: list[str]) -> int:
    """Run a command in a copy of this process, which saves the seconds of a start; return its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = cli.main(command)
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    def broken(arguments):
        raise ValueError("a bug")

    monkeypatch.setattr("b2t_fairseq.evaluation.bleu.main", broken)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["bleu"])


def test_the_traceback_can_be_asked_for(inside, monkeypatch, capfd):
    monkeypatch.setenv("B2T_TRACEBACK", "1")
    assert cli.main(mistakes_world.command("T --dropout -1")) == 2
    printed = capfd.readouterr().err
    assert "Traceback" in printed and printed.splitlines()[-1].startswith("error: --dropout -1.0")


class Failing(torch.utils.data.Dataset):
    """A data set whose reading fails in the worker."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize(
    "error, line",
    [
        (UserError("sound.wav: not a WAV file; check the manifest"), "sound.wav: not a WAV file; check the manifest"),
        (ValueError("a bug of this test's"), None),
    ],
)
def test_an_error_in_a_worker_is_unwrapped(error, line):
    with pytest.raises(ValueError) as caught:
        list(torch.utils.data.DataLoader(Failing(error), num_workers=1))
    assert "Original Traceback" in str(caught.value)
    assert explain(caught.value) == line


def test_a_foreign_error_in_a_spawned_process_is_unwrapped():
    text = (
        "\n\n-- Process 0 terminated with the following error:\nTraceback (most recent call last):\n"
        '  File "/x/site-packages/fairseq/trainer.py", line 1, in f\n    g()\nAssertionError: optimizer is\nrequired\n'
    )
    assert explain(RuntimeError(text)) == "optimizer is required"
    assert explain(RuntimeError(text.replace("/fairseq/", "/b2t_fairseq/"))) is None


def allocate_far_too_much():
    return torch.empty(2**55)


def test_memory_that_is_not_there_is_one_line():
    with pytest.raises(RuntimeError) as caught:
        allocate_far_too_much()
    assert explain(caught.value) == (
        "not enough memory (134,217,728.0 GiB asked for): use a smaller model or a lower --max-tokens"
    )


@pytest.mark.slow
def test_fairseqs_own_command_shows_one_line_too(inside):
    command = [str(Path(sys.executable).with_name("fairseq-train")), "bin", *mistakes_world.MT.split()]
    command += ["--user-dir", f"{HERE}/b2t_fairseq", "--eval-bleu", "--eval-bleu-args", "beam=4"]
    environment = {**os.environ, "PYTHONPATH": HERE}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 1 and lines[-1].startswith("error: --eval-bleu-args")
    assert "Traceback" not in done.stderr
