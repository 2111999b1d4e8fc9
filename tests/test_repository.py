"""The repository's own files: one test command everywhere, one version of each tool, a citation that holds."""

import re
from pathlib import Path

import pytest
import yaml

from b2t_fairseq.version import __version__

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_workflow_runs_the_test_command():
    job = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["test"]
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    assert job["timeout-minutes"] == 90
    (python,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python == "3.11"
    assert "scripts/test.sh" in read(".ci/run")


def test_ruff_has_one_version():
    (pinned,) = re.findall(r'"ruff==([\d.]+)"', read("setup.py"))
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repo["rev"] for repo in hooks] == [f"v{pinned}"]
    assert [hook["id"] for hook in hooks[0]["hooks"]] == ["ruff-check", "ruff-format"]


def test_the_type_checker_is_pinned_and_run():
    assert re.search(r'"basedpyright==[\d.]+"', read("setup.py"))
    assert "-m basedpyright\n" in read("scripts/test.sh")
    for room in ("connections", "layers", "models", "evaluation"):
        assert f'"b2t_fairseq/{room}"' in read("pyproject.toml")


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == __version__
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Takase", "Kiyono", "Kobayashi", "Suzuki"]
    assert paper["year"] == 2023


def test_the_changelog_has_this_version():
    assert f"## [{__version__}]" in read("CHANGELOG.md")


@pytest.mark.parametrize("name", [path.name for path in ROOT.glob("scripts/*_*.sh") if path.name[0] != "_"])
def test_scripts_that_people_call_are_short(name):
    assert len(read(f"scripts/{name}").splitlines()) < 10


def test_the_container_has_the_scripts_torch():
    (torch,) = re.findall(r"torch==([\d.]+)", read("Dockerfile"))
    assert f"TORCH_VERSION={torch}\n" in read("scripts/_environment.sh")
    assert len(read("Dockerfile").splitlines()) <= 10


def test_the_container_has_what_its_first_line_runs():
    """The quickstart draws curves, and refuses to start without the extra for them."""
    dockerfile = read("Dockerfile")
    assert " b2t quickstart " in dockerfile.splitlines()[0]
    (extras,) = re.findall(r'-e "\.\[([\w,]+)\]"', dockerfile)
    needed = re.findall(r'require_extra\("(\w+)"', read("b2t_fairseq/experiments/quickstart.py"))
    assert needed and {"ve", *needed} <= set(extras.split(","))
