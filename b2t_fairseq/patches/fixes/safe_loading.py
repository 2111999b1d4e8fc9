"""Load checkpoints with torch's safe unpickler.

Without it: torch >= 2.6 unpickles with `weights_only=True` by default and refuses every fairseq checkpoint, first for
`argparse.Namespace`. Resuming, generation, validation, averaging and the rank-0 broadcast of a multi-process resume all
die.
Versions: every fairseq so far, with torch >= 2.6. With torch 2.4 and 2.5 the list only serves `load_checkpoint`.
Unnecessary: once fairseq's checkpoints hold tensors and plain containers only.

`checkpoints/loading.py` holds the list.
"""

from pathlib import Path
from unittest import mock

import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils

from ...checkpoints.loading import (
    HAS_ALLOW_LIST,
    allow_listed,
    check_archive,
    check_history,
    check_state,
    give_adams_name,
    one_line_about,
)
from ..wrap import record, wrap


def apply() -> str | None:
    if not HAS_ALLOW_LIST:
        return "this torch has no list of safe classes"
    allow_listed()
    record(__name__, "torch's list of safe classes")
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_checked)
    wrap(checkpoint_utils, "load_ema_from_checkpoint", __name__, _make_checked)
    wrap(distributed_utils, "_broadcast_object_slow", __name__, _make_checked)
    return None


def _make_checked(original):
    """Wrap a function of fairseq that loads, so that the file is checked and a refusal says what to do."""

    def load(source, *args, **kwargs):
        is_file = isinstance(source, str | Path)
        name = source if is_file else "the checkpoint sent by rank 0"
        torch_load = torch.load

        def checked_load(file, *load_args, **load_kwargs):
            with one_line_about(name):
                if is_file:
                    check_archive(file)
                state = torch_load(file, *load_args, **load_kwargs)
            if is_file:
                check_state(state, name)
                check_history(state, name)
                give_adams_name(state)
            return state

        with mock.patch.object(torch, "load", checked_load):
            return original(source, *args, **kwargs)

    return load
