"""Load a bundle (`b2t-fairseq export --format safetensors`) wherever fairseq loads a checkpoint.

Without it: fairseq reads its own pickled files only, so `--path BUNDLE` ends in "is a directory".
Versions: every fairseq so far.

The path is the folder. `checkpoints/bundles.py` checks and reads it; then its content goes the way of every other
checkpoint, that is also through `trust_checkpoint`, which is applied earlier and so sees what is read here.
"""

import os
from contextvars import ContextVar
from unittest import mock

import torch
from fairseq import checkpoint_utils, hub_utils
from fairseq.file_io import PathManager

from ...checkpoints import bundles
from ..wrap import wrap

_reading: ContextVar[str | None] = ContextVar("the bundle that is being read", default=None)


def apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_load)
    wrap(PathManager, "get_local_path", __name__, _make_local)
    wrap(hub_utils, "from_pretrained", __name__, _make_from_pretrained)


def _make_load(original):
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        if not bundles.is_bundle(path):
            return original(path, *args, **kwargs)
        state, path = bundles.read(path), os.path.normpath(path)
        token = _reading.set(path)
        try:
            with mock.patch.object(torch, "load", lambda *_, **__: state):
                return original(path, *args, **kwargs)
        finally:
            _reading.reset(token)

    return load_checkpoint_to_cpu


def _make_local(original):
    def get_local_path(path, *args, **kwargs):
        local = original(path, *args, **kwargs)
        # fairseq opens it; a file that was checked
        return os.path.join(local, bundles.WEIGHTS) if path == _reading.get() else local

    return get_local_path


def _make_from_pretrained(original):
    def from_pretrained(model_name_or_path, checkpoint_file="model.pt", *args, **kwargs):
        if bundles.is_bundle(model_name_or_path) and not os.path.exists(
            os.path.join(model_name_or_path, checkpoint_file)
        ):
            checkpoint_file = "."
            kwargs = bundles.overrides(model_name_or_path) | kwargs
            kwargs.pop("data")  # fairseq names the folder itself
        return original(model_name_or_path, checkpoint_file, *args, **kwargs)

    return from_pretrained
