"""The matrix of environments: which cells there are, what a cell runs, and that a finished one keeps its row."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def matrix():
    spec = importlib.util.spec_from_file_location("matrix", ROOT / "scripts" / "matrix.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_exists_for_each_other_is_a_cell(matrix):
    names = {cell.name for cell in matrix.all_cells()}
    assert {"3.11-ve-2.13", "3.12-ve-2.13", "3.13-fixed-2.14", "3.10-pypi-2.1", "3.10-main-2.13"} <= names
    assert not {"3.10-ve-2.13", "3.13-ve-2.14", "3.11-pypi-2.1", "3.12-fixed-2.1", "3.13-fixed-2.1"} & names


def test_the_distributions_are_those_of_the_package(matrix):
    extras = (ROOT / "setup.py").read_text()
    for extra in ("ve", "fixed"):
        name, version = matrix.FAIRSEQS[extra].replace("`", "").split()
        assert f'"{extra}": ["{name}=={version}"]' in extras


def test_the_core_subset_exists(matrix):
    files = [name for name in (*matrix.TESTS, matrix.TRAINING.partition("::")[0]) if name.startswith("tests/")]
    assert len(files) == 4 and all((ROOT / name).exists() for name in files)
    test = matrix.TRAINING.partition("::")[2].partition("[")[0]
    assert f"def {test}(" in (ROOT / matrix.TRAINING.partition("::")[0]).read_text()


def dry_run(matrix, capsys, folder: Path, cell: str) -> list[str]:
    """The commands of a cell, without its name."""
    assert matrix.main(["--dry-run", "--folder", str(folder), "--only", cell]) == 0
    return [line.partition("$ ")[2] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "cell, wanted, unwanted",
    [
        ("3.11-ve-2.13", ["torch==2.13.0+cpu", "-e '.[ve]'"], ["fairseq==", "numpy<2", "cython"]),
        (
            "3.13-fixed-2.14",
            [
                "torch==2.14.1",
                "'setuptools>=64' wheel cython numpy",
                "--no-build-isolation -e '.[fixed]'",
                "-u CUDA_HOME",
            ],
            ["ve]", "numpy<2"],
        ),
        (
            "3.10-pypi-2.1",
            ["torch==2.1.2 'numpy<2'", "'pip<24.1'", "constraints.txt fairseq==0.12.2", "--no-build-isolation -e ."],
            ["[fixed]", "--no-build-isolation fairseq"],
        ),
        ("3.10-main-2.13", ["git ls-remote", "facebookresearch/fairseq@3d262bb2"], ["fairseq==0.12.2"]),
    ],
)
def test_a_dry_run_lists_the_commands_and_changes_nothing(
    cell, wanted, unwanted, matrix, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(matrix, "find_python", lambda version: f"python{version}")
    commands = "\n".join(dry_run(matrix, capsys, tmp_path / "none", cell))
    assert all(text in commands for text in wanted), commands
    assert not any(text in commands for text in unwanted), commands
    assert commands.splitlines()[-1].endswith(f"'{matrix.TRAINING}'") and not (tmp_path / "none").exists()


def test_a_finished_cell_keeps_its_row_and_others_are_tried_again(matrix, capsys, tmp_path, monkeypatch):
    tried = []

    def call(run):
        tried.append(run.cell.name)
        if run.cell.fairseq == "main":
            return run.row | {"problem": "not reachable"}
        versions = {"python": "3.10.13", "torch": "2.13.0+cpu", "numpy": "2.2.6"}
        return run.row | {"versions": versions, "tests": "12 passed", "training": "yes", "minutes": 1.0}

    monkeypatch.setattr(matrix.Run, "__call__", call)
    arguments = ["--folder", str(tmp_path), "--only", "3.10-main-2.13", "3.10-fixed-2.13"]
    assert matrix.main(arguments) == 0 and matrix.main(arguments) == 0
    assert tried == ["3.10-fixed-2.13", "3.10-main-2.13", "3.10-main-2.13"]
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0].startswith("| Python | fairseq | torch | numpy |")
    assert lines[2].startswith("| 3.10.13 | `fairseq-fixed` 0.12.3.1 | 2.13.0+cpu | 2.2.6 | 12 passed | yes | 20")
    assert lines[3].startswith("| 3.10 | git main (3d262bb2) | 2.13.0 | – | not reachable | – | 20")
    assert matrix.main([*arguments[:2], "--again", "--only", "3.10-fixed-2.13"]) == 0
    assert tried[3:] == ["3.10-fixed-2.13"]
    (tmp_path / "rows" / "3.10-fixed-2.13.json").write_text('{"cell": [')  # a row that was cut off is none
    matrix.main(["--folder", str(tmp_path), "--only", "3.10-fixed-2.13"])
    assert tried[4:] == ["3.10-fixed-2.13"]


def test_the_table_shows_all_rows_and_the_status_those_of_this_run(matrix, capsys, tmp_path, monkeypatch):
    rows = tmp_path / "rows"
    rows.mkdir()
    row = {"cell": ["3.11", "ve", "2.13"], "date": "2026-11-26", "tests": "1 failed, 9 passed", "training": "yes"}
    row["passed"] = False
    (rows / "3.11-ve-2.13.json").write_text(json.dumps(row))
    monkeypatch.setattr(
        matrix.Run, "__call__", lambda run: run.row | {"tests": "10 passed", "training": "yes", "minutes": 1}
    )
    assert matrix.main(["--folder", str(tmp_path), "--only", "3.12-ve-2.13"]) == 0
    assert "1 failed, 9 passed" in (printed := capsys.readouterr().out) and "10 passed" in printed
    assert matrix.main(["--folder", str(tmp_path), "--only", "3.11-ve-2.13"]) == 1


@pytest.mark.parametrize(
    "output, counts",
    [
        ("....\n738 passed in 269.45s (0:04:29)\n", "738 passed"),
        ("F\n1 failed, 30 passed, 2 skipped in 3.00s", "1 failed, 30 passed, 2 skipped"),
        ("ImportError while loading conftest\nE   ModuleNotFoundError: x", "ModuleNotFoundError: x"),
        ("", "no output"),
    ],
)
def test_counts(output, counts, matrix):
    assert matrix.last_line(output) == counts


def test_a_training_that_fails_says_why_without_the_path_of_a_temporary_file(matrix):
    output = (
        "E   assert 2 == 0\nerror: /tmp/x/checkpoint2.pt: torch 2.1.2 cannot load checkpoints safely\n1 failed in 6s\n"
    )
    assert matrix.reason(output) == "no: torch 2.1.2 cannot load checkpoints safely"
    assert matrix.reason("E   assert 2 == 0\n1 failed in 6s\n") == "no: 1 failed"


def test_a_cell_runs_in_a_copy_and_a_failing_step_ends_it(matrix, tmp_path, monkeypatch):
    """The Python of this cell makes environments whose pip fails."""
    fake = tmp_path / "python"
    copy = 'mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python"'
    fake.write_text(f'#!/usr/bin/env bash\ncase "$*" in *venv*) {copy} ;; *) exit 1 ;; esac\n')
    fake.chmod(0o755)
    options = matrix.parse(["--folder", str(tmp_path / "m"), "--only", "3.11-ve-2.13"])
    (tmp_path / "m").mkdir()
    monkeypatch.setattr(matrix, "find_python", lambda version: str(fake))
    run = matrix.Run(options.cells[0], options)
    row = run()
    assert row["problem"] == "installation failed at `numpy`"
    assert (run.checkout / "setup.py").read_text() == (ROOT / "setup.py").read_text()
    assert not (run.checkout / ".venv").exists() and "pip install" in run.log.read_text()


def test_a_cell_that_was_killed_has_no_result(matrix, tmp_path, monkeypatch):
    options = matrix.parse(["--folder", str(tmp_path), "--only", "3.11-ve-2.13"])
    monkeypatch.setattr(matrix, "find_python", lambda version: sys.executable)
    monkeypatch.setattr(matrix.Run, "install", lambda run, base: None)
    run = matrix.Run(options.cells[0], options)
    run.python = "bash"
    monkeypatch.setattr(matrix, "TESTS", ())
    monkeypatch.setattr(matrix, "PYTEST", ("-c", "kill -9 $$"))
    assert run()["problem"] == "stopped by signal 9"


def test_mistakes_are_one_line(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "test_matrix.sh", "--only", "3.9-ve-2.13"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 2
    assert done.stderr == "error: --only 3.9-ve-2.13: no such cell; --help lists them\n"
