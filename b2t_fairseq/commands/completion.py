"""Completion of our command in a shell, with every option of every command."""

import argparse
from collections.abc import Sequence

import shtab

from ..common.command_line import Parser
from . import table
from .full_help import LOAD_CHECKPOINTS, add_early_options, parser_of

WITHOUT_A_PARSER = ("hydra-train", "score", "completion")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a shell's completion script (`b2t-fairseq completion`)."""
    parser = Parser(
        prog="b2t-fairseq completion",
        description="Prints a script that completes b2t-fairseq's commands and options; put it where your shell looks.",
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    print(shtab.complete(whole_parser(), parser.parse_args(arguments).shell))


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser that has all commands as its own."""
    whole = argparse.ArgumentParser(prog="b2t-fairseq", description="deep Transformers for fairseq")
    for option, text in (("--version", "the versions of all packages"), ("--user-dir", "this plugin's folder")):
        whole.add_argument(option, action="store_true", help=text)
    commands = whole.add_subparsers(metavar="COMMAND")
    for name in [*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS]:
        text = table.OUR_COMMANDS[name][1] if name in table.OUR_COMMANDS else f"fairseq-{name}, with our --user-dir"
        parents = [] if name in WITHOUT_A_PARSER else [parser_of(name)]
        command = commands.add_parser(name, help=text, parents=parents, add_help=not parents)
        if name in LOAD_CHECKPOINTS:
            add_early_options(command)
    return whole
