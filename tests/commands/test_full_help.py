"""`COMMAND --help`: an example, and all options; and the completion that is made of them."""

import shlex
import subprocess
import sys

import pytest
import shtab

from b2t_fairseq import cli
from b2t_fairseq.commands import completion, full_help, table

OUR_TRAINING_OPTIONS = (
    "--connection",
    "--connection-init",
    "--connection-options",
    "--connection-module",
    "--norm",
    "--branch-warmup",
    "--share-layers",
    "--compile-layers",
    "--split-products",
    "--encoder-word-dropout",
    "--probe-interval",
    "--distributed-timeout",
    "--trust-checkpoint",
)
WITH_A_PARSER = [c for c in (*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS) if c not in completion.WITHOUT_A_PARSER]


def help_of(command, capsys):
    try:
        assert not cli.main(shlex.split(command))
    except SystemExit as left:  # argparse's own help
        assert not left.code
    return capsys.readouterr().out


def test_help_of_training_lists_fairseqs_options_and_ours(capsys):
    text = help_of("train --help --arch transformer_b2t_18_18", capsys)
    assert text.startswith("example: b2t-fairseq train data-bin --arch transformer_b2t_18_18 ")
    assert [option for option in OUR_TRAINING_OPTIONS if f"\n  {option}" not in text] == []
    for fairseqs in ("--max-tokens", "--encoder-layers", "--source-lang", "--adam-betas", "data"):
        assert f"\n  {fairseqs}" in text or f", {fairseqs}" in text, fairseqs


def test_help_follows_the_architecture_the_task_and_the_criterion(capsys):
    text = help_of(
        "train --arch transformer_lm_pre_6 --task language_modeling --criterion adaptive_loss --lr-scheduler cosine -h",
        capsys,
    )
    for option in ("--tokens-per-sample", "--adaptive-input", "--connection", "--lr-period-updates"):
        assert f"\n  {option}" in text, option
    assert "--encoder-layers" not in text


@pytest.mark.parametrize("command", ["generate", "interactive", "validate", "eval-lm"])
def test_help_of_what_loads_checkpoints(command, capsys):
    text = help_of(f"{command} --help", capsys)
    assert f"example: b2t-fairseq {command} " in text and "INFO" not in text
    for option in ("--path", "--trust-checkpoint", "--connection-module"):
        assert f"\n  {option}" in text, option


@pytest.mark.parametrize(
    "command", ["preprocess", "average-checkpoints", "reproduce", "bleu", "paper-train", "paper-evaluate"]
)
def test_help_of_other_commands(command, capsys):
    text = help_of(f"{command} -h", capsys)
    assert text.startswith(f"example: b2t-fairseq {command}") and f"usage: b2t-fairseq {command} " in text


def test_help_behind_two_dashes_is_fairseqs(monkeypatch):
    """As in `quickstart -- --help`, which is no question to us."""
    monkeypatch.setattr(table, "start", lambda command, arguments: arguments)
    assert cli.run("quickstart", ["--", "--help"]) == ["--", "--help"]


def test_every_command_has_an_example():
    assert sorted(full_help.EXAMPLES) == sorted([*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS])


@pytest.mark.parametrize("command", WITH_A_PARSER)
def test_examples_have_options_that_exist(command):
    """And a first word that is one of the choices, where there are choices."""
    words = shlex.split(full_help.EXAMPLES[command])
    parser = full_help.parser_of(command, words if command in table.FAIRSEQ_COMMANDS else [])
    if subcommands := [action.choices for action in parser._actions if isinstance(action.choices, dict)]:
        parser = subcommands[0][words[0]]
    assert [word for word in words if word.startswith("-") and word not in parser._option_string_actions] == []
    choices = [action.choices for action in parser._actions if not action.option_strings and action.choices]
    assert not choices or words[0] in choices[0]


@pytest.mark.parametrize("shell", shtab.SUPPORTED_SHELLS)
def test_completion_knows_commands_and_options(shell):
    script = shtab.complete(completion.whole_parser(), shell)
    for word in (*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS, "connection-module", "branch-warmup", "max-tokens"):
        assert word in script, word


@pytest.mark.slow
def test_bash_completes(tmp_path):
    command = [sys.executable, "-m", "b2t_fairseq", "completion", "bash"]
    (tmp_path / "completion").write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ask = "source {}; COMP_WORDS=({}); COMP_CWORD={}; _shtab_b2t_fairseq; echo ${{COMPREPLY[@]}}"
    for words, place, expected in (("b2t-fairseq tr", 1, "train transcribe"), ("b2t-fairseq train --bran", 2, None)):
        command = ["bash", "-c", ask.format(tmp_path / "completion", words, place)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert answer == (expected.split() if expected else ["--branch-warmup", "--branch-warmup-schedule"])
