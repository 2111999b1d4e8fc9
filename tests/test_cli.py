"""Our command line: the user directory it fills in, and mistakes that end in one sentence."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import free_port
from omegaconf import OmegaConf

import b2t_fairseq
from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError

HOME = b2t_fairseq.__path__[0]


@pytest.mark.parametrize(
    "given, filled",
    [
        (["bin", "--arch", "x"], ["bin", "--arch", "x", f"--user-dir={HOME}"]),
        (["bin", "--user-dir", HOME], ["bin", f"--user-dir={HOME}"]),
        (["--user-dir=" + HOME, "bin"], [f"--user-dir={HOME}", "bin"]),
        (["--user-dir", HOME + "/../b2t_fairseq/", "bin"], [f"--user-dir={HOME}", "bin"]),
        (["--user-dir", "b2t_fairseq"], [f"--user-dir={HOME}"]),
    ],
)
def test_user_dir_is_filled_in_or_respelled(given, filled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.fill_user_dir(given) == filled


@pytest.mark.parametrize("form", ["--user-dir {}", "--user-dir={}"])
def test_a_symlink_to_this_package_is_this_package(form, tmp_path):
    (tmp_path / "b2t_fairseq").symlink_to(HOME)
    (tmp_path / "plugin").symlink_to(HOME)
    for name in ("b2t_fairseq", "plugin"):
        assert cli.fill_user_dir(form.format(tmp_path / name).split()) == [f"--user-dir={HOME}"]


def test_the_users_own_directory_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    assert cli.fill_user_dir(["--user-dir", str(tmp_path / "mine")]) == [f"--user-dir={tmp_path / 'mine'}"]


def test_another_copy_is_refused(tmp_path):
    (tmp_path / "b2t_fairseq").mkdir()
    with pytest.raises(UserError, match="another copy"):
        cli.fill_user_dir(["--user-dir", str(tmp_path / "b2t_fairseq")])


@pytest.mark.parametrize("arguments", [["--user-dir"], ["--user-dir="], ["--user-dir", "/no/such/folder"]])
def test_a_bad_user_dir_is_refused(arguments):
    with pytest.raises(UserError, match="--user-dir"):
        cli.fill_user_dir(arguments)


def test_hydra_gets_the_user_dir_and_keeps_the_working_folder():
    assert cli.fill_hydra(["task.data=bin"]) == ["task.data=bin", "hydra.job.chdir=false"]
    assert cli.fill_hydra(["hydra.job.chdir=true", f"common.user_dir={HOME}/."]) == [
        "hydra.job.chdir=true",
        f"common.user_dir={HOME}",
    ]


@pytest.mark.parametrize("given", [None, str(HOME), "b2t_fairseq"])
def test_hydra_trains_with_our_user_dir(given):
    cfg = OmegaConf.create({"common": {"user_dir": given}})
    cli.fill_hydra_user_dir(["task.data=bin"], cfg)
    assert cfg.common.user_dir == str(HOME)


def test_a_user_dir_in_a_hydra_file_is_not_run(tmp_path):
    cfg = OmegaConf.create({"common": {"user_dir": str(tmp_path)}})
    with pytest.raises(UserError, match="add common.user_dir="):
        cli.fill_hydra_user_dir(["task.data=bin"], cfg)
    cli.fill_hydra_user_dir([f"common.user_dir={tmp_path}"], cfg)
    assert cfg.common.user_dir == str(tmp_path)


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


def test_help_and_version(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f" {name}" in text for name in [*cli.FAIRSEQ_COMMANDS, *cli.OUR_COMMANDS])
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


@pytest.mark.parametrize("command", sorted(cli.OUR_COMMANDS))
def test_each_command_of_ours_is_there(command):
    module = importlib.import_module(cli.OUR_COMMANDS[command][0], "b2t_fairseq")
    assert callable(module.main)
