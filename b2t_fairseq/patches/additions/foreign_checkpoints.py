"""Load checkpoints of the methods' authors' own codes as ours, converted in memory; a training refuses them.

Without it: a Post-LN or B2T model of another fork ends in a traceback about a name, or is loaded as another function,
because the weights of B2T and Post-LN have the same names.
Versions: every fairseq so far.

`interchange/incoming` converts. This one sees a file before `trust_checkpoint` does, which then sees our options.
"""

from contextvars import ContextVar
from unittest import mock

import torch
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from ...checkpoints.loading import check_state
from ...checkpoints.trust import check_bounds
from ...interchange.incoming.conversion import in_memory, refuse_to_train
from ..wrap import wrap

_trains: ContextVar[bool] = ContextVar("whether a checkpoint is loaded to be trained further", default=False)


def apply() -> None:
    wrap(Trainer, "load_checkpoint", __name__, _make_load_into_trainer)
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_load_to_cpu)


def _make_load_into_trainer(original):
    def load_checkpoint(self, *args, **kwargs):
        token = _trains.set(True)
        try:
            return original(self, *args, **kwargs)
        finally:
            _trains.reset(token)

    return load_checkpoint


def _make_load_to_cpu(original):
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        torch_load = torch.load

        def converting_load(*load_args, **load_kwargs):
            state = torch_load(*load_args, **load_kwargs)
            check_state(state, path)
            check_bounds(state, path)
            if _trains.get():
                refuse_to_train(state, path)
            return in_memory(state, path)

        with mock.patch.object(torch, "load", converting_load):
            return original(path, *args, **kwargs)

    return load_checkpoint_to_cpu
