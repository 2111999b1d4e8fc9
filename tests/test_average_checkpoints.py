"""Averaging checkpoints: the numbers, the choice of files, and what is refused."""

import argparse
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from b2t_fairseq.average_checkpoints import average, choose, main
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.command_line import guarded
from b2t_fairseq.common.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


SIGNATURE = "connection:b2t|init:auto|layers:2-2|plugin:1|fairseq:1"


def write(path, value, signature=SIGNATURE, old=False, vocabulary=None, **extra):
    tied = torch.full((2, 3), float(value))
    model = OrderedDict(
        a=tied, b=tied, half=torch.tensor([value, 1.0]).half(), step=torch.tensor([int(value), 7]), **extra
    )
    args = argparse.Namespace(connection_signature=signature, maximize_best_checkpoint_metric=False)
    args.vocabulary = vocabulary
    cfg = {"model": args, "checkpoint": {"maximize_best_checkpoint_metric": "bleu" in path.name}}
    state = {"args": args if old else None, "cfg": None if old else cfg, "model": model}
    torch.save({**state, "last_optimizer_state": {"m": tied}, "optimizer_history": [{"num_updates": 1}]}, path)
    return path


@pytest.mark.parametrize("old", [False, True])
def test_mean_type_and_sharing(tmp_path, old):
    files = [write(tmp_path / f"{i}.pt", value, old=old) for i, value in enumerate([1.0, 2.0, 6.0])]
    model = average(files)["model"]
    assert list(model) == ["a", "b", "half", "step"]
    assert torch.equal(model["a"], torch.full((2, 3), 3.0)) and model["a"].dtype == torch.float32
    assert model["a"].data_ptr() == model["b"].data_ptr()
    assert torch.equal(model["half"], torch.tensor([3.0, 1.0]).half()) and model["half"].dtype == torch.float16
    assert model["step"].tolist() == [3, 7] and model["step"].dtype == torch.int64


def test_parameters_tied_in_the_first_file_only_are_averaged_apart(tmp_path):
    first, second = write(tmp_path / "1.pt", 1.0), write(tmp_path / "2.pt", 3.0)
    state = torch.load(second)
    state["model"]["b"] = torch.zeros(2, 3)
    torch.save(state, second)
    model = average([first, second])["model"]
    assert model["a"][0, 0] == 2.0 and model["b"][0, 0] == 0.5


def test_many_half_precision_files_keep_their_mean(tmp_path):
    files = [write(tmp_path / f"{i}.pt", 1.0, x=torch.tensor([1000.0 + i % 2]).half()) for i in range(100)]
    assert average(files)["model"]["x"].item() == 1000.5  # a sum in half precision would overflow at 65504


@pytest.fixture
def folder(tmp_path):
    names = ["checkpoint1", "checkpoint2", "checkpoint10", "checkpoint_1_20", "checkpoint_2_100", "checkpoint_2_90"]
    names += ["checkpoint.best_nll_loss_2.1230", "checkpoint.best_nll_loss_11.0000", "checkpoint.best_nll_loss_2.1221"]
    for name in [*names, "checkpoint_last", "checkpoint_best"]:
        write(tmp_path / f"{name}.pt", 1.0)
    (tmp_path / "checkpoint11.pt.tmp").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "bound", "expected"),
    [
        ("epoch", None, ["checkpoint10", "checkpoint2"]),
        ("epoch", 9, ["checkpoint2", "checkpoint1"]),
        ("update", None, ["checkpoint_2_100", "checkpoint_2_90"]),
        ("update", 95, ["checkpoint_2_90", "checkpoint_1_20"]),
        ("best", None, ["checkpoint.best_nll_loss_2.1221", "checkpoint.best_nll_loss_2.1230"]),
    ],
)
def test_choice(folder, kind, bound, expected):
    assert [path.name for path in choose([str(folder)], kind, 2, bound)] == [f"{name}.pt" for name in expected]


def test_best_by_a_metric_to_maximise(tmp_path):
    for value in ["9.5000", "10.2500", "1.0000"]:
        write(tmp_path / f"checkpoint.best_bleu_{value}.pt", 1.0)
    names = [path.name for path in choose([str(tmp_path)], "best", 2)]
    assert names == ["checkpoint.best_bleu_10.2500.pt", "checkpoint.best_bleu_9.5000.pt"]


def refused(capsys, *arguments):
    status = guarded(lambda: main([*map(str, arguments)]))
    error = capsys.readouterr().err
    assert status != 0 and error.startswith("error: ") and error.count("\n") == 1
    return error


def test_main_writes_a_checkpoint(folder, capsys):
    output = folder / "new" / "average.pt"
    assert main(["--inputs", str(folder), "--num-epoch-checkpoints", "3", "--output", str(output)]) == 0
    state = load_checkpoint(output)
    assert state["last_optimizer_state"] is None and state["optimizer_history"] == [{"num_updates": 1}]
    assert "checkpoint10.pt, checkpoint2.pt, checkpoint1.pt" in capsys.readouterr().out
    assert os.listdir(output.parent) == ["average.pt"]


def test_fewer_than_asked(folder, capsys):
    error = refused(capsys, "--inputs", folder, "--num-update-checkpoints", 4, "--output", folder / "o.pt")
    assert "4 update checkpoints asked for, 3 found" in error and not (folder / "o.pt").exists()


@pytest.mark.parametrize("options", [[], ["--num-epoch-checkpoints", 0], ["--num-best-checkpoints", 1,
                                     "--checkpoint-upper-bound", 3]])  # fmt: skip
def test_unclear_choices(folder, capsys, options):
    refused(capsys, "--inputs", folder, *options, "--output", folder / "o.pt")


def test_missing_and_broken_files(folder, capsys):
    assert "nowhere.pt" in refused(capsys, "--inputs", folder / "nowhere.pt", "--output", folder / "o.pt")
    (folder / "half.pt").write_bytes((folder / "checkpoint1.pt").read_bytes()[:500])
    assert "half.pt" in refused(capsys, "--inputs", folder / "half.pt", "--output", folder / "o.pt")


def test_other_connection_names_files_and_signatures(tmp_path, capsys):
    one = write(tmp_path / "one.pt", 1.0, "connection:b2t|layers:2-2|plugin:1")
    two = write(tmp_path / "two.pt", 1.0, "connection:post|layers:2-2|plugin:1")
    error = refused(capsys, "--inputs", one, two, "--output", tmp_path / "o.pt")
    assert all(part in error for part in ["one.pt", "two.pt", "connection:b2t", "connection:post"])
    assert len(average([one, write(two, 1.0, "connection:b2t|layers:2-2|plugin:2")])["model"]) == 4  # only newer


def test_other_vocabularies(tmp_path, capsys):
    files = [write(tmp_path / f"{i}.pt", 1.0, vocabulary=v) for i, v in enumerate(["9 pieces, aa", "9 pieces, bb"])]
    error = refused(capsys, "--inputs", *files, "--output", tmp_path / "o.pt")
    assert all(part in error for part in ["0.pt", "1.pt", "9 pieces, aa", "9 pieces, bb"])
    assert average([files[0], write(files[1], 1.0)])["model"]  # nothing noted


@pytest.mark.parametrize("extra", [{"x": torch.ones(2)}, {"x": torch.ones(3)}])
def test_other_parameters(tmp_path, capsys, extra):
    files = [write(tmp_path / "1.pt", 1.0, x=torch.ones(4)), write(tmp_path / "2.pt", 1.0, **extra)]
    error = refused(capsys, "--inputs", *files, "--output", tmp_path / "o.pt")
    assert "1.pt" in error and "2.pt" in error and "x" in error


def test_more_parameters_in_the_second_file(tmp_path):
    files = [write(tmp_path / "1.pt", 1.0), write(tmp_path / "2.pt", 1.0, x=torch.ones(2))]
    with pytest.raises(UserError, match="x"):
        average(files)


def test_unwritable_output(folder, capsys):
    (folder / "file").touch()
    inputs = ["--inputs", folder / "checkpoint1.pt"]
    assert f"{folder / 'file'}: " in refused(capsys, *inputs, "--output", folder / "file" / "o.pt")
    (folder / "o.pt").mkdir()
    assert f"{folder / 'o.pt'}: is a directory" in refused(capsys, *inputs, "--output", folder / "o.pt")
    assert not list(folder.glob("o.pt.*"))


@pytest.mark.slow
def test_as_a_command(folder):
    command = [sys.executable, "-m", "b2t_fairseq.average_checkpoints", "--inputs", str(folder)]
    command += ["--num-best-checkpoints", "9", "--output", str(folder / "o.pt")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "9 best checkpoints asked for, 3 found" in done.stderr
    assert "Traceback" not in done.stderr
