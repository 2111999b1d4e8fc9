"""Our command line: which commands there are, how fast it answers, and mistakes that end in one line."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import free_port

import b2t_fairseq
from b2t_fairseq import cli
from b2t_fairseq.commands import table
from b2t_fairseq.common.quick import answers_without_fairseq

HOME = b2t_fairseq.__path__[0]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["trian"], "did you mean train"),
        (["train", "bin", "--arch", "transformer_b2t_17_17"], "--encoder-layers 17"),
        (["train", "bin", "-a", "transformer_b2t_18_18", "--lrr=1"], "unrecognized arguments: --lrr=1"),
        (["validate", "bin", "--path", "x.pt"], "x.pt"),
        (["train", "bin", "--arch", "transformer_b2t_6_6_tiny"], "--max-tokens"),
        (["train", "no-data", "--max-tokens", "9", "--arch", "transformer_b2t_6_6_tiny"], "no-data"),
        (
            ["train", "no-data", "--max-tokens=9", "-s", "en", "-t", "de", "--arch", "transformer_b2t_6_6_tiny"],
            "no-data",
        ),
        (["bleu", "--hypotheses", "missing.out", "--references", "missing.de"], "missing."),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["before"])
    assert cli.main(arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and sentence in error[0]


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError):
        cli.guarded(lambda: {}["a bug"])


@pytest.mark.parametrize("start", [["b2t-fairseq"], [sys.executable, "-m", "b2t_fairseq"]])
@pytest.mark.parametrize("option", ["--help", "--version", "--user-dir", None])
def test_what_needs_no_fairseq_does_not_import_it(start, option, tmp_path):
    """torch and fairseq take seconds; neither is there for the child that we start, which would fail."""
    for package in ("torch", "fairseq", "numpy"):
        (tmp_path / f"{package}.py").write_text(f"raise SystemExit('{package} was imported')")
    program = shutil.which(start[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(HOME).parent}"}
    command = [str(program), *start[1:], *([option] if option else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0 if option else 2, "")
    assert done.stdout.strip() == HOME if option == "--user-dir" else "b2t" in done.stdout


@pytest.mark.parametrize(
    "started, original, is_quick",
    [
        (["/env/bin/b2t-fairseq", "--help"], ["python", "/env/bin/b2t-fairseq", "--help"], True),
        (["/env/bin/b2t-fairseq", "train", "--help"], ["python", "/env/bin/b2t-fairseq", "train", "--help"], False),
        (["-m", "--version"], ["python", "-X", "utf8", "-m", "b2t_fairseq", "--version"], True),
        (["-m", "--version"], ["python", "-m", "pytest", "--version"], False),
        (["-m"], ["python", "-mb2t_fairseq"], False),
        (["/env/bin/fairseq-train", "--help"], ["python", "/env/bin/fairseq-train", "--help"], False),
        (["-c", "--help"], ["python", "-c", "import b2t_fairseq", "--help"], False),
        ([], ["python"], False),
    ],
)
def test_only_our_command_goes_without_the_plugin(started, original, is_quick, monkeypatch):
    monkeypatch.setattr(sys, "argv", started)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert answers_without_fairseq() == is_quick


def test_help_and_version(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f" {name}" in text for name in [*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS])
    assert cli.main(["--version"]) == 0
    assert f"b2t_fairseq {b2t_fairseq.__version__} (" in capsys.readouterr().out
    assert cli.main([]) == 2


@pytest.mark.slow
def test_a_torchrun_worker_trains_through_our_command(tmp_path):
    """Two ranks, one model: one set of checkpoints, and a world size of 2 in the log."""
    for split, count in (("train", 40), ("valid", 8)):
        for language in ("en", "de"):
            lines = [" ".join(f"{language}{(n * k) % 9}" for k in range(1, 5)) for n in range(count)]
            (tmp_path / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(HOME).parent), "OMP_NUM_THREADS": "1"}
    ours = ["-m", "b2t_fairseq.cli"]
    prepare = "preprocess -s en -t de --trainpref train --validpref valid --destdir bin --joined-dictionary"
    subprocess.run(
        [sys.executable, *ours, *prepare.split()], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    train = (
        "train bin --arch transformer_b2t_6_6_tiny --encoder-layers 1 --decoder-layers 1 --share-all-embeddings --cpu "
        "--optimizer adam --lr 1e-3 --max-tokens 100 --max-update 4 --save-dir ck --num-workers 0 --log-format json "
        "--distributed-world-size 2 --distributed-backend gloo --ddp-backend legacy_ddp"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    done = subprocess.run(
        [*launch, *ours, *train.split()], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (done.stdout + done.stderr).count("done training") == 1  # logged by rank 0 alone: one training, not two
    assert (tmp_path / "ck" / "checkpoint_last.pt").exists()


@pytest.mark.slow
def test_the_command_works_from_a_symlinked_copy_of_the_path(tmp_path):
    shutil.rmtree(tmp_path / "link", ignore_errors=True)
    (tmp_path / "link").symlink_to(Path(HOME).parent)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "link")}
    command = [
        sys.executable,
        "-m",
        "b2t_fairseq.cli",
        "train",
        "no-data",
        "--max-tokens=9",
        "-a",
        "transformer_b2t_6_6_tiny",
    ]
    done = subprocess.run([*command, "--user-dir", HOME], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: no-data: "), done.stderr


@pytest.mark.parametrize("command", sorted(table.OUR_COMMANDS))
def test_each_command_of_ours_is_there(command):
    module = importlib.import_module(table.OUR_COMMANDS[command][0], "b2t_fairseq")
    assert callable(module.main)
