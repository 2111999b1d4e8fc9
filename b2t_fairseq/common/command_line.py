"""Command lines: options whose mistakes are one line, and commands to read, copy and start."""

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Callable, Sequence

from .errors import UserError, explain, show

#: how our processes start us -> what a user types
WHAT_A_USER_TYPES = {
    "-m b2t_fairseq.cli": ["b2t-fairseq"],
    "-m b2t_fairseq.average_checkpoints": ["b2t-fairseq", "average-checkpoints"],
}


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line, without the usage text, and which takes no abbreviations."""

    def __init__(self, *positional, **options):
        options.setdefault("allow_abbrev", False)
        super().__init__(*positional, **options)

    def error(self, message: str):
        """Raise the mistake as a `UserError` instead of printing the usage and exiting."""
        raise UserError(f"{message}; --help lists the options")

    def parse_and_keep_further(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse the options up to `--`; those after it, which are fairseq's, are kept as `further`."""
        arguments = list(sys.argv[1:] if arguments is None else arguments)
        cut = arguments.index("--") if "--" in arguments else len(arguments)
        return self.parse_args(arguments[:cut], argparse.Namespace(further=arguments[cut + 1 :]))


def positive(text: str) -> int:
    """Parse a whole number of at least 1 (an argparse type)."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number of at least 1")
    return int(text)


def not_negative(text: str) -> int:
    """Parse a whole number of at least 0 (an argparse type)."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number of at least 0")
    return int(text)


def depths(text: str) -> tuple[int, ...]:
    """Parse layers of each stack, "18-18" -> (18, 18) or "16" -> (16,) (an argparse type)."""
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(f"'{text}' must be like 18-18, or 16 for a language model")
    return tuple(int(depth) for depth in text.split("-"))


def ours(command: str, *arguments: str) -> list[str]:
    """Build the command line of one of our commands, for this Python."""
    return [sys.executable, "-m", "b2t_fairseq.cli", command, *arguments]


def shown(arguments: Sequence[str]) -> str:
    """Quote a command line to read and to copy; `python` and `b2t-fairseq` are the environment's."""
    if arguments[0] != sys.executable:
        return shlex.join(arguments)
    if start := WHAT_A_USER_TYPES.get(" ".join(arguments[1:3])):
        return shlex.join([*start, *arguments[3:]])
    return shlex.join(["python", *("b2t_fairseq" if word == "b2t_fairseq.cli" else word for word in arguments[1:])])


def guarded(action: Callable[[], int | None]) -> int:
    """Run `action`; turn the user's mistakes, and only those, into one line and status 2."""
    try:
        return action() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as mistake:
        line = explain(mistake)
        if line is None:
            raise
        show(line, mistake)
        return 2


def forget_import_time_logging() -> None:
    """Let the command set up its own log format and stream.

    Some of fairseq's model files call `logging.basicConfig` when imported. fairseq's commands call it earlier and
    win; we import the models first, so without this the log would go to stderr in another format.
    """
    for handler in logging.root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler.stream is sys.stderr:
            logging.root.removeHandler(handler)
