"""Packages of extras: a missing one is one line that names the extra."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from b2t_fairseq.common import optional
from b2t_fairseq.common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_require_returns_the_module():
    assert optional.require("json.decoder", "plots", "figures").JSONDecoder


def test_a_missing_module_names_its_extra():
    with pytest.raises(UserError) as mistake:
        optional.require("no_such_package.part", "plots", "figures")
    assert str(mistake.value) == (
        'figures need no_such_package, which is not installed: pip install "b2t_fairseq[plots]" '
        '(in a checkout: pip install -e ".[plots]")'
    )


@pytest.mark.parametrize(
    "body, reason",
    [
        ("raise OSError('libcuda.so:\\n cannot open')", "cannot be imported (libcuda.so: cannot open)"),
        ("import no_such_library", "cannot be imported (No module named 'no_such_library')"),
    ],
)
def test_a_module_that_fails_to_import_says_why(body, reason, tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as mistake:
        optional.require("broken_package", "speech", "audio files")
    line = str(mistake.value)
    assert line.startswith(f"audio files need broken_package, which {reason}: pip install") and "\n" not in line


def test_an_extra_is_checked_before_the_work(monkeypatch):
    optional.require_extra("plots", "figures")
    monkeypatch.setitem(optional.EXTRAS, "plots", ("matplotlib", "no_such_package"))
    with pytest.raises(UserError, match=r"^figures need no_such_package, .*\[plots\]"):
        optional.require_extra("plots", "figures")


@pytest.mark.parametrize(
    "version, machine, extra",
    [((3, 12), "x86_64", "[ve]"), ((3, 13), "x86_64", "[fixed]"), ((3, 11), "arm64", "[fixed]")],
)
def test_without_fairseq_the_line_names_what_fits(version, machine, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(optional.platform, "machine", lambda: machine)
    with pytest.raises(ImportError) as error:
        optional.check_fairseq()
    line = str(error.value)
    assert line.startswith("b2t_fairseq needs fairseq, which is not installed: ") and extra in line and "\n" not in line
    assert ("--no-build-isolation" in line) == ("fixed" in extra)


def without_fairseq(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run this Python where `fairseq` is a folder and not a package; torch is not needed to say so."""
    (folder / "fairseq").mkdir()
    hide = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
    (folder / "sitecustomize.py").write_text(hide)
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment)


def test_importing_without_fairseq_is_one_line(tmp_path):
    done = without_fairseq(tmp_path, "-c", "import b2t_fairseq")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: b2t_fairseq needs fairseq, which is not installed: pip")


@pytest.mark.parametrize("command", ["-m b2t_fairseq train data", "-m b2t_fairseq.connections", "b2t-fairseq train"])
def test_commands_without_fairseq_print_one_line(command, tmp_path):
    """Also what pip writes for the command `b2t-fairseq`."""
    (tmp_path / "b2t-fairseq").write_text("from b2t_fairseq.cli import main\nraise SystemExit(main())\n")
    done = without_fairseq(tmp_path, *command.split())
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: b2t_fairseq needs fairseq, ") and done.stderr.count("\n") == 1


def test_the_stock_fairseq_of_old_pythons_is_refused_by_new_ones(monkeypatch):
    monkeypatch.setattr(optional, "stock_version", lambda: "0.12.2")
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    with pytest.raises(ImportError, match="^fairseq 0.12.2 of PyPI cannot be imported by Python 3.11"):
        optional.check_fairseq()
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    optional.check_fairseq()
