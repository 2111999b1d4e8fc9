"""The scripts that prepare the paper's corpora: help, mistakes, and the command that they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORPORA = {path.stem.removeprefix("prepare_"): path for path in ROOT.glob("scripts/prepare_*.sh")}


def bash(*arguments):
    own = {"VIRTUAL_ENV": sys.prefix, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, timeout=300)


def test_there_is_one_for_each_corpus():
    assert sorted(CORPORA) == ["gigaword", "librispeech", "wikitext103", "wmt_ende"]


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_a_script_only_names_its_command_and_its_corpus(name):
    *_, last = lines = CORPORA[name].read_text(encoding="utf-8").splitlines()
    assert last == f'b2t_step prepare {name} "$@"'
    assert len(lines) < 10


@pytest.mark.slow
def test_help_is_the_commands_own():
    done = bash(CORPORA["gigaword"], "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: bash scripts/prepare_gigaword.sh")
    assert not done.stderr
    for text in ("--torch cpu|cuda", "--extra PREFIX", "--need-free-gb GB", "summary.tar.gz", "news_headlines"):
        assert text in done.stdout


@pytest.mark.parametrize(
    "arguments, sentence", [(["--torch", "tpu"], "must be cpu or cuda"), (["--python"], "--python needs a value")]
)
def test_mistakes_are_one_line(arguments, sentence):
    done = bash(CORPORA["gigaword"], *arguments)
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_options_reach_the_command_as_they_are(tmp_path):
    place = tmp_path / "a folder"
    done = bash(CORPORA["wmt_ende"], "--dry-run", "--output", place, "--from-raw")
    assert done.returncode == 0 and not place.exists()
    wanted = f"-m b2t_fairseq.cli prepare wmt_ende --output {str(place).replace(' ', chr(92) + ' ')} --from-raw"
    assert wanted in done.stderr
    done = bash(CORPORA["wmt_ende"], "--years", "2009", "--output", place)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ")
