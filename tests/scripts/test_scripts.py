"""The shell scripts: syntax, help, and mistakes; what they run is tested with the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*ROOT.glob("scripts/**/*.sh"), ROOT / ".ci" / "run"])


def bash(*arguments, **environment) -> subprocess.CompletedProcess:
    command = ["bash", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def test_there_are_scripts():
    assert {"quickstart.sh", "test.sh", "_environment.sh", "run"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_syntax(script):
    assert bash("-n", script).returncode == 0
    if not script.name.startswith("_"):
        assert "\nset -euo pipefail\n" in script.read_text()


OWN = ("--python PYTHON", "--torch cpu|cuda", "--install", "--dry-run")


@pytest.mark.parametrize("name", [path.name for path in SCRIPTS if "/_environment.sh" in path.read_text()])
def test_help_needs_no_environment(name, tmp_path):
    """On a fresh machine it explains the script's own options and says how to get the others."""
    (tmp_path / "scripts").mkdir()
    for needed in (name, "_environment.sh"):
        shutil.copy(ROOT / "scripts" / needed, tmp_path / "scripts")
    done = bash(tmp_path / "scripts" / name, "--help", VIRTUAL_ENV="", CONDA_PREFIX="")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: bash scripts/{name}") and not done.stderr
    assert all(option in done.stdout for option in OWN)
    assert (f"bash scripts/{name} --install" in done.stdout) == (name != "test.sh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scripts"]


@pytest.mark.slow
def test_help_of_the_quickstart_is_the_commands_own():
    done = bash(ROOT / "scripts" / "quickstart.sh", "--help", "--task", "lm", VIRTUAL_ENV=sys.prefix)
    assert done.returncode == 0 and not done.stderr
    for text in (*OWN, "--tokenise {auto", "spoken digits DIGIT_SPEAKER_INDEX.wav", "summarization  headlines"):
        assert text in done.stdout


@pytest.mark.slow
def test_a_wrong_option_is_one_line():
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = bash(ROOT / "scripts" / "quickstart.sh", "--layer", "6-6", VIRTUAL_ENV=sys.prefix, PATH=path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: unrecognized arguments: --layer 6-6; --help lists the options"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--torch", "tpu"], "--torch must be cpu or cuda"),
        (["--python", "no-such-python", "--dry-run"], "no such program"),
        (["--python", "false", "--dry-run"], "must be Python 3.10 or newer"),
    ],
)
def test_mistakes_are_one_line(arguments, sentence):
    done = bash(ROOT / "scripts" / "quickstart.sh", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and sentence in done.stderr and done.stderr.count("\n") == 1


def copy_of_the_checkout(folder: Path) -> Path:
    """As much of it as the installation looks at."""
    (folder / "scripts").mkdir()
    for name in ("setup.py", "constraints.txt", "scripts/quickstart.sh", "scripts/_environment.sh"):
        (folder / name).write_text((ROOT / name).read_text())
    return folder


def fake_python(
    folder: Path, version: str, cpu_index: str = "exit 1", venv: str = 'cp "$0" "${@: -1}/bin/python"'
) -> Path:
    """A program that answers the questions of the script as a Python of that version without any package would.

    Args:
        folder: to write it to.
        version: such as "3.11".
        cpu_index: what it does when asked to install a CPU build of torch.
        venv: how it makes an environment.
    """
    path = folder / "fake-python"
    major, minor = version.split(".")
    path.write_text(
        f"#!/usr/bin/env bash\ncase \"$*\" in\n*version_info\\ *'<'*) [ {minor} -ge 10 ] ;;\n"
        f"*print*version_info*) echo {version} ;;\n"
        f'*-m\\ venv*) mkdir -p "${{@: -1}}/bin" && {venv} ;;\n'
        f"*+cpu*) {cpu_index} ;;\n*pip\\ install*) echo output of pip ;;\n*) exit 1 ;;\nesac\n"
    )
    path.chmod(0o755)
    return path


def programs(folder: Path, **scripts: str) -> str:
    """A PATH on which programs do what is given: `nvidia_smi="exit 0"` is a machine with a driver."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


CPU_BUILD = "torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu"


@pytest.mark.parametrize(
    "version, driver, flags, wanted, unwanted",
    [
        (
            "3.11",
            "exit 1",
            [],
            [CPU_BUILD, "no NVIDIA driver", "ve-fairseq==0.12.3"],
            ["several GB", "fairseq-fixed=="],
        ),
        ("3.11", "exit 0", [], ["torch==2.13.0 ", "ve-fairseq==0.12.3", "several GB"], ["--index-url", "no NVIDIA"]),
        ("3.12", "exit 0", ["--torch", "cpu"], [CPU_BUILD, "200 MB"], ["several GB"]),
        (
            "3.13",
            "exit 1",
            ["--torch=cuda"],
            ["fairseq-fixed==0.12.3.1", "C++ compiler", "CUDA_HOME"],
            ["--index-url", "ve-fairseq="],
        ),
    ],
)
def test_dry_run_on_a_bare_machine_lists_the_installation_and_changes_nothing(
    version, driver, flags, wanted, unwanted, tmp_path
):
    (tmp_path / "checkout").mkdir()
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    before = sorted(checkout.rglob("*"))
    path = programs(tmp_path / "bin", nvidia_smi=driver)
    python = fake_python(tmp_path, version)
    done = bash(checkout / "scripts" / "quickstart.sh", "--dry-run", "--python", python, *flags, PATH=path)
    assert done.returncode == 0, done.stderr
    assert sorted(checkout.rglob("*")) == before
    tools = ("-m venv", f"-c {checkout}/constraints.txt", "-e ", "\\[speech\\,summarization\\,plots\\]")
    assert all(text in done.stderr for text in [*wanted, *tools, "b2t_fairseq.cli quickstart --dry-run"])
    assert not any(text in done.stderr for text in unwanted)


@pytest.mark.parametrize("version, cpu_index", [("3.11", "exit 0"), ("3.11", "exit 1")])
def test_without_a_driver_the_cpu_build_comes_first(version, cpu_index, tmp_path):
    """Where it cannot be had, as behind a mirror of PyPI, pip's own settings decide. pip's output is in the log."""
    checkout = copy_of_the_checkout(tmp_path)
    path = programs(tmp_path / "bin", nvidia_smi="exit 1")
    python = fake_python(tmp_path, version, cpu_index)
    done = bash(checkout / "scripts" / "quickstart.sh", "--install", "--python", python, PATH=path)
    lines = done.stderr.splitlines()
    torch = [line for line in lines if line.startswith("$") and "torch==" in line]
    assert [CPU_BUILD in line for line in torch] == [True, False] and torch[1].endswith("torch==2.13.0 ")
    assert ("PyPI's will do" in done.stderr) == (cpu_index == "exit 1")
    assert done.returncode == 2 and "is not complete" in lines[-1]  # this Python never has the packages
    assert "output of pip" not in done.stderr
    assert (checkout / ".venv-install.log").read_text().count("output of pip") >= 3


def test_with_cpu_named_nothing_else_is_installed(tmp_path):
    checkout = copy_of_the_checkout(tmp_path)
    python = fake_python(tmp_path, "3.11")
    done = bash(checkout / "scripts" / "quickstart.sh", "--install", "--torch", "cpu", "--python", python)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: there is no CPU build of torch 2.13.0")
    assert "torch==2.13.0 " not in done.stderr


def test_a_failed_step_shows_the_end_of_the_log(tmp_path):
    checkout = copy_of_the_checkout(tmp_path)
    python = fake_python(tmp_path, "3.11", venv="{ seq 100; echo no space left; exit 1; }")
    done = bash(checkout / "scripts" / "quickstart.sh", "--install", "--python", python)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and lines[-1].startswith("error: the installation stopped")
    assert f"{checkout}/.venv-install.log" in lines[-1]
    assert lines[-2] == "no space left" and "100" in lines and "50" not in lines


def test_python_that_is_too_old_is_refused(tmp_path):
    checkout = copy_of_the_checkout(tmp_path)
    done = bash(checkout / "scripts" / "quickstart.sh", "--dry-run", "--python", fake_python(tmp_path, "3.9"))
    assert done.returncode == 2 and "Python 3.10 or newer" in done.stderr


@pytest.mark.slow
def test_an_active_environment_with_the_packages_is_used(tmp_path):
    """The dry run reaches our plan and lists fairseq's commands, for paths with spaces, too."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    environment = {"VIRTUAL_ENV": sys.prefix, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    output = tmp_path / "with spaces"
    done = bash(
        ROOT / "scripts" / "quickstart.sh", "--dry-run", "--connections", "b2t", "--output", output, **environment
    )
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("b2t-fairseq ")]
    assert [line.split()[1] for line in commands] == ["preprocess", "train", "average-checkpoints", "generate"]
    assert "using the active environment" in done.stderr and not output.exists()
    assert "--arch transformer_b2t_18_18_tiny" in commands[1] and "--max-update 1200" in commands[1]
