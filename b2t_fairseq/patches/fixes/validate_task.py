"""Let `fairseq-validate` take the task from the checkpoint when `--task` is not given.

Without it: `KeyError: None` in the option parser, although the checkpoint names its task.
Versions: every fairseq so far; any torch.
Unnecessary: once the validation parser has a default task.
"""

import argparse
import functools
import os

from fairseq import options

from ...checkpoints.loading import load_checkpoint
from ...common.errors import UserError
from ..wrap import wrap


def apply() -> None:
    # not get_validation_parser: that one is already running when fairseq imports the user dir
    wrap(options, "parse_args_and_arch", __name__, _make)


def _make(original):
    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        if any(action.dest == "task" and action.default is None for action in parser._actions):
            parser.set_defaults(task=_task_from_checkpoint(input_args))
        return original(parser, input_args, *args, **kwargs)

    return parse_args_and_arch


def _task_from_checkpoint(input_args: list[str] | None) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task")
    parser.add_argument("--path")
    given, rest = parser.parse_known_args(input_args)
    if given.task or {"-h", "--help"} & set(rest):
        return None  # an explicit task wins
    if not given.path:
        raise UserError("Give --path CHECKPOINT, the model to validate.")
    task = _task_of(given.path.split(os.pathsep)[0])  # of an ensemble, the first
    if not task:
        raise UserError(f"{given.path}: does not say which task it was trained for; give --task.")
    return task


@functools.lru_cache(maxsize=1)  # fairseq asks twice
def _task_of(path: str) -> str | None:
    state = load_checkpoint(path)
    args = (state.get("cfg") or {}).get("task") or state.get("args")  # a dict, or a Namespace of older tasks
    names = args if isinstance(args, dict) else vars(args or argparse.Namespace())
    return names.get("_name") or names.get("task")
