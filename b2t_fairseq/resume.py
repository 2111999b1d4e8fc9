"""Refuse to go on from a checkpoint of another model.

Post-LN, B2T and others have the same parameters, so fairseq would load one into the other without a word.
"""

import functools
from contextvars import ContextVar

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from .signature import check_same_function, signature_of

_expected: ContextVar[str | None] = ContextVar("signature of the model being trained", default=None)


def check_signature_on_resume() -> None:
    """Let fairseq's trainer compare the signature of a checkpoint with its model's before it takes the weights."""
    if hasattr(Trainer.load_checkpoint, "checks_signature"):
        return
    load_into_trainer, load_to_cpu = Trainer.load_checkpoint, checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(load_into_trainer)
    def load_checkpoint(self, *args, **kwargs):
        token = _expected.set(getattr(self._model, "signature", None))
        try:
            return load_into_trainer(self, *args, **kwargs)
        finally:
            _expected.reset(token)

    @functools.wraps(load_to_cpu)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        state = load_to_cpu(path, *args, **kwargs)
        check_same_function(signature_of(state), _expected.get(), path)
        return state

    load_checkpoint.checks_signature = True
    Trainer.load_checkpoint = load_checkpoint
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
