"""`--trust-checkpoint`, and what becomes of a checkpoint's options without it.

Without it: fairseq builds whatever class a checkpoint names, opens the files it names, and copies nested options until
the memory is full.
Versions: every fairseq so far.

Where fairseq loads a checkpoint, its options are looked through (`checkpoints/trust.py`) before fairseq sees them, and
before the user's own `--model-overrides` or keywords, which count as the user's word. Where a training is resumed, its
options are the command line's, and the checkpoint's are not built from. Python callers give the keyword
`trust_checkpoint=True` to `from_pretrained`, or `arg_overrides={"trust_checkpoint": True}`.
"""

import argparse
from contextvars import ContextVar
from unittest import mock

import torch
from fairseq import checkpoint_utils, options
from fairseq.trainer import Trainer
from omegaconf import OmegaConf, open_dict

from ...checkpoints import trust
from ...common.errors import UserError
from ..wrap import wrap

#: what the checkpoint is loaded for: "training", "model" (of a given task), "model and task"
purpose: ContextVar[str] = ContextVar("what a checkpoint is loaded for", default="model")


def apply() -> None:
    wrap(options, "parse_args_and_arch", __name__, _make_parse)
    wrap(Trainer, "load_checkpoint", __name__, _make_load_into_trainer)
    wrap(checkpoint_utils, "load_model_ensemble_and_task", __name__, _make_load_models)
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_load_to_cpu)


def _make_parse(original):
    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        early.add_argument("--trust-checkpoint", action="store_true")
        options, rest = early.parse_known_args(input_args)
        trust.trust_checkpoints(options.trust_checkpoint)
        return original(parser, rest if options.trust_checkpoint else input_args, *args, **kwargs)

    return parse_args_and_arch


def _for(reason: str, call, *args, **kwargs):
    token = purpose.set(reason)
    try:
        return call(*args, **kwargs)
    finally:
        purpose.reset(token)


def _make_load_into_trainer(original):
    def load_checkpoint(self, *args, **kwargs):
        return _for("training", original, self, *args, **kwargs)

    return load_checkpoint


def _make_load_models(original):
    def load_model_ensemble_and_task(filenames, arg_overrides=None, task=None, *args, **kwargs):
        reason = "model and task" if task is None else "model"
        return _for(reason, original, filenames, arg_overrides, task, *args, **kwargs)

    return load_model_ensemble_and_task


def _make_load_to_cpu(original):
    def load_checkpoint_to_cpu(path, arg_overrides=None, *args, **kwargs):
        overrides = dict(arg_overrides or {})
        trusted = overrides.pop("trust_checkpoint", False) or trust.are_trusted()
        reason, torch_load, removed = purpose.get(), torch.load, []

        def checked_load(*load_args, **load_kwargs):
            state = torch_load(*load_args, **load_kwargs)
            trust.check_bounds(state, path)
            if reason != "training" and not trusted:
                removed.extend(trust.sanitise(state, path, overrides, reason == "model and task"))
            return state

        with mock.patch.object(torch, "load", checked_load):
            state = original(path, arg_overrides if arg_overrides is None else overrides, *args, **kwargs)
        _fill_in(state, removed, overrides)
        data_is_missing = "data" not in overrides and not {("task", "data"), ("data",)}.isdisjoint(removed)
        if reason == "model and task" and data_is_missing:
            raise UserError(
                f"{path}: name the data folder, which is not taken on a checkpoint's word: "
                "arg_overrides={'data': FOLDER}, or --trust-checkpoint if you trust the file"
            )
        return state

    return load_checkpoint_to_cpu


def _fill_in(state: dict, removed: list[tuple], overrides: dict) -> None:
    """Set what the user gives in the place of removed options: fairseq overrides only what is there."""
    for *groups, key in removed:
        part = state.get("cfg")
        for group in groups:
            part = part[group] if OmegaConf.is_dict(part) and group in part else None
        if key in overrides and groups and OmegaConf.is_dict(part):
            with open_dict(part):
                part[key] = overrides[key]
