"""Our one command: fairseq's own commands with `--user-dir` filled in, and the project's tools.

`b2t-fairseq train DATA --arch transformer_b2t_18_18 …` is `fairseq-train DATA --user-dir …/b2t_fairseq …` run in this
process, so spawned and torchrun workers find the plugin as well. What the user can fix ends in one line `error: ...`
and exit status 2; a traceback always means a bug.

Nothing here imports torch or fairseq, so that `--help` and `--version` answer at once.
"""

import difflib
import importlib.metadata
import sys
from collections.abc import Sequence

from .commands import table
from .common.command_line import guarded
from .common.errors import UserError
from .common.quick import OUR_PATH
from .version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (fairseq's own commands may also leave by `SystemExit`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(versions())
        return 0
    if arguments[0] == "--user-dir":
        print(OUR_PATH)
        return 0
    return guarded(lambda: run(arguments[0], arguments[1:]))


def run(command: str, arguments: list[str]) -> int | None:
    """Run `command` of ours or of fairseq's with `arguments`."""
    if command not in table.FAIRSEQ_COMMANDS and command not in table.OUR_COMMANDS:
        known = [*table.FAIRSEQ_COMMANDS, *table.OUR_COMMANDS]
        near = difflib.get_close_matches(command, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "choose from " + ", ".join(known)
        raise UserError(f"unknown command '{command}': {hint}")
    before_further = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if {"-h", "--help"} & set(before_further):
        from .commands import full_help

        return full_help.show(command, arguments)
    return table.start(command, arguments)


def usage() -> str:
    """Return what `--help` prints."""
    ours = "\n".join(f"  {name:<20} {text}" for name, (_, text) in table.OUR_COMMANDS.items())
    return (
        "usage: b2t-fairseq COMMAND ARGUMENTS…   (or: python -m b2t_fairseq COMMAND ARGUMENTS…)\n\n"
        "example: b2t-fairseq train data-bin --arch transformer_b2t_18_18 --max-tokens 4096 …\n\n"
        "fairseq's own commands, with --user-dir filled in:\n"
        f"  {'  '.join(table.FAIRSEQ_COMMANDS)}\n\nours:\n{ours}\n\n"
        "b2t-fairseq COMMAND --help lists the command's options, with an example.\n\noptions:\n"
        "  -h, --help           this text\n"
        "  --version            the versions of the package, fairseq and torch\n"
        "  --user-dir           the folder for fairseq's own commands: "
        'fairseq-train --user-dir "$(b2t-fairseq --user-dir)" …'
    )


def versions() -> str:
    """Return `b2t_fairseq 0.1.0 (ve-fairseq 0.12.3, torch 2.13.0)`."""
    parts = []
    for name in ("ve-fairseq", "fairseq-fixed", "fairseq", "torch"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"b2t_fairseq {__version__} ({', '.join(parts)})"


if __name__ == "__main__":
    sys.exit(main())
