"""Load checkpoints of the methods' authors' own codes as ours, converted in memory; a training refuses them.

Without it: a Post-LN or B2T model of another fork ends in a traceback about a name, or is loaded as another function,
because the weights of B2T and Post-LN have the same names.
Versions: every fairseq so far.

`interchange/incoming` converts. This one sees a file before `trust_checkpoint` does, which then sees our options.
"""

from unittest import mock

import torch
from fairseq import checkpoint_utils

from ...checkpoints.loading import check_state
from ...checkpoints.trust import check_bounds
from ...interchange.incoming.conversion import in_memory, refuse_to_train
from ..wrap import wrap
from .trust_checkpoint import purpose


def apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_load_to_cpu)


def _make_load_to_cpu(original):
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        torch_load = torch.load

        def converting_load(*load_args, **load_kwargs):
            state = torch_load(*load_args, **load_kwargs)
            check_state(state, path)
            check_bounds(state, path)
            if purpose.get() == "training":
                refuse_to_train(state, path)
            return in_memory(state, path)

        with mock.patch.object(torch, "load", converting_load):
            return original(path, *args, **kwargs)

    return load_checkpoint_to_cpu
