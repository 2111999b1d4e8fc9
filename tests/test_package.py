"""The wheel and the sdist: what is in them, and that the wheel works far from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from b2t_fairseq.experiments.recipes import configs_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
CACHES = shutil.ignore_patterns("__pycache__", ".*_cache")
AT_THE_TOP = shutil.ignore_patterns(
    ".git", ".hypothesis", ".venv*", "build", "dist", "*.egg-info", "runs", "outputs", "data", "shared"
)


def not_source(folder: str, names: list[str]) -> set[str]:
    """Return what of a folder is not the project's source (for `shutil.copytree`)."""
    return CACHES(folder, names) | (AT_THE_TOP(folder, names) if Path(folder) == ROOT else set())


def python(*arguments, **settings) -> str:
    """Run this Python; return what it printed."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> set[str]:
    """The files below a folder, as relative paths."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the checkout: a build leaves its files in the source tree."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "b2t", ignore=not_source))


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory) -> Path:
    """A folder with the installed wheel."""
    folder = tmp_path_factory.mktemp("installed")
    quiet = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    python(*quiet, "wheel", "--no-deps", "--no-build-isolation", "-w", folder / "wheel", ".", cwd=source)
    (wheel,) = (folder / "wheel").glob("*.whl")
    python(*quiet, "install", "--no-deps", "--no-index", "--no-compile", "--target", folder / "site", wheel)
    return folder / "site"


def test_the_checkout_has_its_recipes_at_the_top():
    assert configs_folder() == ROOT / "configs"


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(source, installed):
    here = {str(Path("b2t_fairseq") / name) for name in files(source / "b2t_fairseq")}
    recipes = {str(Path("b2t_fairseq/configs") / name) for name in files(source / "configs")}
    assert {"b2t_fairseq/configs/laptop/quickstart.yaml", "b2t_fairseq/configs/paper/wmt_ende.yaml"} <= recipes
    assert {"b2t_fairseq/py.typed", "b2t_fairseq/native/kernels.cpp"} <= here
    assert files(installed / "b2t_fairseq") == {name.removeprefix("b2t_fairseq/") for name in here | recipes}
    tops = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"b2t_fairseq", "bin"}


def test_the_sdist_is_complete(source, tmp_path):
    python("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})", cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    sources = {name for name in files(source) if not name.startswith(("build/", "b2t_fairseq.egg-info/"))}
    assert sources - packed == set()


#: started in one process: an import of fairseq takes longer than all of them
IN_ANOTHER_FOLDER = """
import contextlib, json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    print("###")
    sys.argv[1:] = arguments[1:]
    with contextlib.suppress(SystemExit):
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
import b2t_fairseq
print("###", b2t_fairseq.__file__)
"""


def test_commands_work_in_another_folder(installed, tmp_path):
    """`quickstart`, `paper-train` and `paper-evaluate` find their recipes in the wheel."""
    commands = [
        ["b2t_fairseq", "--help"],
        ["b2t_fairseq", "quickstart", "--dry-run"],
        ["b2t_fairseq", "quickstart", "--task", "lm", "--dry-run"],
        ["b2t_fairseq", "paper-train", "wmt_ende", "--dry-run", "--gpus", "8"],
        ["b2t_fairseq", "paper-evaluate", "wmt_ende", "--run", "runs/b2t", "--dry-run"],
        ["b2t_fairseq.connections", "--layers", "2-2"],
    ]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    printed = python("-c", IN_ANOTHER_FOLDER, json.dumps(commands), cwd=tmp_path, env=environment).split("###")
    nothing, usage, quickstart, language_model, train, evaluate, connections, where = printed
    assert not nothing and where.strip() == str(installed / "b2t_fairseq" / "__init__.py")
    assert "usage: " in usage and "quickstart" in usage
    assert "--arch transformer_b2t_18_18_tiny" in quickstart and "--max-update 1200" in quickstart
    assert "--task language_modeling" in language_model
    assert "--arch transformer_b2t_18_18 " in train and "torch.distributed.run" in train
    assert "b2t_fairseq.cli generate" in evaluate
    assert "b2t" in connections and "final LN" in connections
    assert not list(tmp_path.iterdir())
