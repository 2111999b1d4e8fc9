"""fairseq's own commands, run in this process with our user directory, their mistakes in one line."""

import argparse
import functools
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

from ..common.command_line import forget_import_time_logging
from ..common.errors import UserError
from ..common.known_errors import hints
from ..common.quick import OUR_PATH


def run(command: str, arguments: list[str]) -> int | None:
    """Run `command` with `arguments`, to which our user directory is added."""
    if command == "hydra-train":
        arguments = fill_hydra(arguments)
        quiet_hydra()
        check_hydra(arguments)
    elif command != "score":  # the one command of fairseq's that knows no --user-dir
        arguments = fill_user_dir(arguments)
    else:
        check_score(arguments)
    forget_import_time_logging()
    sys.argv = [f"b2t-fairseq {command}", *arguments]
    return importlib.import_module(f"fairseq_cli.{command.replace('-', '_')}").cli_main()


def one_line_refusals():
    """Make every argparse parser refuse in one line, as long as the returned context lasts."""
    return mock.patch.object(argparse.ArgumentParser, "error", refuse)


def fill_user_dir(arguments: Sequence[str]) -> list[str]:
    """Add `--user-dir` with our path, or make a given one say our path in our own spelling.

    fairseq compares the folder of the imported package with `--user-dir` as strings, so a symlink or a relative path
    to this very package has to be respelled; a folder of the user's own, which imports us, is left alone.
    """
    filled, given, rest = [], False, iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == "--user-dir":
            value = value if equals else next(rest, None)
            if not value:
                raise UserError("--user-dir needs a folder; leave it out to use this package's own")
            given, argument = True, f"--user-dir={our_spelling(value)}"
        filled.append(argument)
    return filled if given else [*filled, f"--user-dir={OUR_PATH}"]


def fill_hydra(arguments: Sequence[str]) -> list[str]:
    """Keep hydra from changing the working folder, where relative paths would break; respell a given user dir.

    Ours stands beside the user's own settings: hydra's argparse takes no settings on both sides of an option.
    """
    filled = list(arguments)
    for place, argument in enumerate(filled):
        key, equals, value = argument.partition("=")
        if key.lstrip("+") == "common.user_dir" and equals:
            filled[place] = f"{key}={our_spelling(value)}"
    places = [place for place, argument in enumerate(filled) if "=" in argument and not argument.startswith("-")]
    keys = {filled[place].partition("=")[0].lstrip("+") for place in places}
    where = places[-1] + 1 if places else len(filled)
    ours = [] if "hydra.job.chdir" in keys else ["hydra.job.chdir=false"]
    return filled[:where] + ours + filled[where:]


def fill_hydra_user_dir(arguments: Sequence[str], cfg: Any) -> None:
    """Set `common.user_dir` of hydra's configuration, once hydra has put it together, to our path.

    Raises:
        UserError: a file names another one. Its code would be run, so it has to be given on the command line.
    """
    given = cfg.common.user_dir
    on_the_command_line = any(a.partition("=")[0].lstrip("+") == "common.user_dir" for a in arguments)
    if given and not on_the_command_line and our_spelling(given) != OUR_PATH:
        raise UserError(
            f"the configuration's common.user_dir ({given}) would be run, which a file must not ask for: if you trust "
            f"it, add common.user_dir={given} to the command"
        )
    if not (given and on_the_command_line):
        cfg.common.user_dir = OUR_PATH


def check_hydra(arguments: Sequence[str]) -> None:
    """Let `fill_hydra_user_dir` see the configuration before fairseq does."""
    hydra_train = importlib.import_module("fairseq_cli.hydra_train")
    start = getattr(hydra_train._hydra_main, "__wrapped__", hydra_train._hydra_main)

    @functools.wraps(start)
    def checked(cfg: Any, **options: Any) -> float:
        fill_hydra_user_dir(arguments, cfg)
        return start(cfg, **options)

    hydra_train._hydra_main = checked


def quiet_hydra() -> None:
    """Make hydra raise a job's error, instead of reporting it in ten lines of its own and exiting."""
    from hydra.core.utils import JobReturn, JobStatus

    def return_value(job: JobReturn) -> Any:
        if job.status == JobStatus.FAILED:
            raise job._return_value
        return job._return_value

    logging.getLogger("fairseq_cli.hydra_train").setLevel(logging.ERROR)  # what it warns of, the error line says
    os.environ["HYDRA_FULL_ERROR"] = "1"
    JobReturn.return_value = property(return_value, JobReturn.return_value.fset)


def check_score(arguments: Sequence[str]) -> None:
    """Raise a UserError if the two files of `score` differ in their lines: fairseq scores the first ones of each."""
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    files.add_argument("-s", "--sys", default="-")
    files.add_argument("-r", "--ref", default="")
    files.add_argument("-o", "--order", type=int, default=4)
    with one_line_refusals():
        options, _ = files.parse_known_args(arguments)
    if not 1 <= options.order <= 4:
        raise UserError(f"--order {options.order}: must be from 1 to 4")
    if not options.ref:
        return
    if options.sys == "-":
        sys.stdin = io.StringIO(sys.stdin.read())
        hypotheses = len(sys.stdin.readlines())
        sys.stdin.seek(0)
    else:
        hypotheses = count_lines(options.sys)
    references = count_lines(options.ref)
    if hypotheses != references or not references:
        raise UserError(
            f"--sys {options.sys} has {hypotheses} lines and --ref {options.ref} {references}: they must have the same "
            "number, and at least one"
        )


def count_lines(path: str) -> int:
    """Return the number of lines as `score` reads them."""
    try:
        with open(path, encoding="utf-8") as lines:
            return sum(1 for _ in lines)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); convert it, for example with iconv") from None


def our_spelling(folder: str) -> str:
    """Return `folder` itself, or our own path if it leads to this package; another copy of the package is refused."""
    if os.path.realpath(folder) == os.path.realpath(OUR_PATH):
        return OUR_PATH
    if not os.path.exists(folder):
        if folder == "b2t_fairseq":  # the bare name, from a working folder elsewhere
            return OUR_PATH
        raise UserError(f"--user-dir {folder}: no such folder; leave the option out to use this package's own")
    if os.path.basename(os.path.abspath(folder)) == "b2t_fairseq":
        raise UserError(
            f"--user-dir {folder} is another copy of b2t_fairseq than the one this command belongs to ({OUR_PATH}): "
            "leave the option out, or run the other copy's command"
        )
    return folder


def refuse(parser: argparse.ArgumentParser, message: str) -> None:
    """Raise a one-line UserError; argparse's own `error` prints hundreds of lines of usage before it."""
    message = message.replace("invalid <lambda> value", "invalid value")
    message = re.sub(r"argument (--\S+): invalid \w+ value: '\?\?\?'", r"\1 is needed and not given", message)
    raise UserError(f"{message}{hints(message)}; {parser.prog} --help lists the options")
