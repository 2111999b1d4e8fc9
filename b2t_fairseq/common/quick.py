"""How was this process started? Help, of our own command, must not wait for torch and fairseq, which take seconds."""

import sys
from pathlib import Path, PurePath

PACKAGE = Path(__file__).resolve().parents[1]
#: the package's folder as it was imported; fairseq compares it with `--user-dir` as a string
OUR_PATH = sys.modules[__package__.rpartition(".")[0]].__path__[0]
COMMAND = ("b2t-fairseq", "b2t_fairseq", "b2t_fairseq.cli")  # as a script, or after -m
#: what may stand behind the command's name, or nothing
WITHOUT_FAIRSEQ = ("-h", "--help", "--version", "--user-dir", "doctor")


def answers_without_fairseq() -> bool:
    """Whether our command was started with one of `WITHOUT_FAIRSEQ`, or with nothing."""
    return started() in COMMAND and (len(sys.argv) < 2 or sys.argv[1] in WITHOUT_FAIRSEQ)


def is_our_command() -> bool:
    """Whether this process runs a command or module of ours, or was spawned by one; also asked while packages load."""
    name = started()
    return name in COMMAND or name.startswith("b2t_fairseq.") or PACKAGE in Path(program()).resolve().parents


def started() -> str:
    """Return the name of the script, or of the module behind `-m`, whose package Python is about to import."""
    if program() != "-m":  # once the package is imported, it is the module's file
        return PurePath(program()).name
    words = sys.orig_argv
    return words[words.index("-m") + 1] if "-m" in words[:-1] else ""


def program() -> str:
    """Return `sys.argv[0]`, which an embedded Python may lack."""
    return next(iter(getattr(sys, "argv", None) or [""]))
