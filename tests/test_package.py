"""The wheel and the sdist: what they need, what is in them, and that the wheel works far from the checkout."""

import ast
import email
import functools
import importlib.metadata
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from b2t_fairseq.common.optional import EXTRAS
from b2t_fairseq.experiments.recipes import configs_folder

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


def distribution(module: str) -> str:
    """The package that pip installs for a module, spelled as in comparisons: `yaml` -> `pyyaml`."""
    return spelled(installed_packages().get(module, [module])[0])


installed_packages = functools.cache(importlib.metadata.packages_distributions)


def spelled(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


SETUP = runpy.run_path(str(ROOT / "setup.py"))
#: fairseq and what comes with every distribution of it; torchaudio is used if it happens to import
FAIRSEQS = {"fairseq", "fairseq_cli", "hydra", "torchaudio"}


def imports(path: Path) -> set[str]:
    """The top-level modules that a file of ours imports from elsewhere."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"b2t_fairseq"} - FAIRSEQS


def requirements(path: Path) -> set[tuple[str, str]]:
    """The (module, extra) that a file of ours asks `require` for."""
    text = path.read_text(encoding="utf-8")
    return set(re.findall(r'require\(\s*"(\w+)[\w.]*",\s*"(\w+)"', text))


OURS = sorted(ROOT.glob("b2t_fairseq/**/*.py"))


def test_what_is_imported_is_declared():
    """A module is of the core, or of an extra; then its file asks `require` first, which names the extra."""
    core, of_extras = set(map(spelled, SETUP["CORE"])), {module for modules in EXTRAS.values() for module in modules}
    for path in OURS:
        for module in imports(path):
            if module in of_extras:
                assert module in {name for name, _ in requirements(path)} or "require(" in path.read_text(), path
            else:
                assert distribution(module) in core, f"{path} imports {module}"


def test_the_core_has_nothing_that_nothing_uses():
    """tensorboardX is fairseq's wish at each start; shtab writes the completion of a shell."""
    used = {distribution(module) for path in OURS for module in imports(path)}
    assert set(map(spelled, SETUP["CORE"])) - used <= {"tensorboardx", "shtab"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_error_line_names_the_extra_that_installs_the_module(extra):
    assert {distribution(module) for module in EXTRAS[extra]} == set(map(spelled, SETUP["EXTRAS"][extra]))
    for path in OURS:
        assert all(module in EXTRAS[name] for module, name in requirements(path) if name == extra), path


def test_tests_need_all_extras_of_commands():
    tests = set(map(spelled, SETUP["EXTRAS"]["test"]))
    assert all(set(map(spelled, SETUP["EXTRAS"][extra])) <= tests for extra in EXTRAS)


def test_constraints_are_exact_and_cover_what_is_installed_directly():
    """But for torch, where the user's stays, and what the fairseq distribution pins itself."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    constraints = {spelled(line): Requirement(line) for line in lines}
    assert all(re.fullmatch(r"==[\d.]+", str(constraint.specifier)) for constraint in constraints.values())
    direct = {*SETUP["CORE"], *SETUP["EXTRAS"]["test"]}
    pinned = {spelled(name) for name in direct if "==" in name}
    assert set(map(spelled, direct)) - pinned - set(constraints) == {"torch", "omegaconf"}
    assert not set(constraints) & pinned


README = """[rooms](docs/architecture.md#rooms), [here](#quick-start), ![a figure](results/figure.svg),
[fairseq](https://github.com/facebookresearch/fairseq) and y = LN[0](x)."""


def test_links_of_the_long_description_lead_somewhere():
    shown = SETUP["long_description"](README, "https://example.org/b2t")
    assert shown.splitlines()[0] == (
        "[rooms](https://example.org/b2t/blob/main/docs/architecture.md#rooms), "
        "[here](https://example.org/b2t#quick-start), ![a figure](https://example.org/b2t/raw/main/results/figure.svg),"
    )
    assert "[fairseq](https://github.com/facebookresearch/fairseq)" in shown


def test_without_an_address_links_become_their_text():
    shown = SETUP["long_description"](README, None)
    assert shown.startswith("rooms, here, a figure,\n[fairseq](https://github.com/facebookresearch/fairseq)")


@pytest.mark.slow
def test_the_metadata_say_what_the_package_is(installed):
    (path,) = installed.glob("*.dist-info/METADATA")
    metadata = email.message_from_string(path.read_text(encoding="utf-8"))
    assert metadata["Requires-Python"] == ">=3.10" and metadata["Description-Content-Type"] == "text/markdown"
    assert set(metadata.get_all("Provides-Extra")) == {"ve", "fixed", "docs", "test", *EXTRAS}
    assert "Paper, https://arxiv.org/abs/2206.00330" in metadata.get_all("Project-URL")
    links = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert links and all(link.startswith("https://") for link in links)


def test_the_checkout_has_its_recipes_at_the_top():
    assert configs_folder() == ROOT / "configs"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(source, installed):
    here = {str(Path("b2t_fairseq") / name) for name in files(source / "b2t_fairseq")}
    recipes = {str(Path("b2t_fairseq/configs") / name) for name in files(source / "configs")}
    assert {"b2t_fairseq/configs/laptop/quickstart.yaml", "b2t_fairseq/configs/paper/wmt_ende.yaml"} <= recipes
    assert {"b2t_fairseq/py.typed", "b2t_fairseq/native/kernels.cpp", "b2t_fairseq/native/vectors.h"} <= here
    assert files(installed / "b2t_fairseq") == {name.removeprefix("b2t_fairseq/") for name in here | recipes}
    tops = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"b2t_fairseq", "bin"}


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert "b2t-fairseq generate" in evaluate
    assert "b2t" in connections and "final LN" in connections
    assert not list(tmp_path.iterdir())
