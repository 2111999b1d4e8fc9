"""Refuse to go on from a checkpoint of another model or another vocabulary.

Post-LN, B2T and others have the same parameters, so fairseq would load one into the other without a word; and so it
would load embeddings whose rows belong to other symbols.
"""

import functools
from contextvars import ContextVar
from typing import Any

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from .models.options import write
from .models.vocabulary import check_same_vocabulary
from .signature import check_same_function, signature_of

_trained: ContextVar[Any] = ContextVar("the model being trained", default=None)


def check_checkpoints_on_resume() -> None:
    """Let fairseq's trainer compare signature and vocabulary of a checkpoint with its model's before it takes it."""
    if hasattr(Trainer.load_checkpoint, "checks_checkpoints"):
        return
    load_into_trainer, load_to_cpu = Trainer.load_checkpoint, checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(load_into_trainer)
    def load_checkpoint(self, *args, **kwargs):  # every training passes here before its first update
        note_in_arguments(self.cfg.model, self._model)
        token = _trained.set(self._model)
        try:
            return load_into_trainer(self, *args, **kwargs)
        finally:
            _trained.reset(token)

    @functools.wraps(load_to_cpu)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        state = load_to_cpu(path, *args, **kwargs)
        model = _trained.get()
        check_same_function(signature_of(state), getattr(model, "signature", None), path)
        check_same_vocabulary(state, getattr(model, "vocabulary", None), path)
        return state

    load_checkpoint.checks_checkpoints = True
    Trainer.load_checkpoint = load_checkpoint
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


def note_in_arguments(args: Any, model: Any) -> None:
    """Write what a model of ours says of itself into the arguments that its checkpoints will save.

    The model has done so, but for `--arch transformer_lm_b2t` and hydra fairseq hands it a copy of the arguments.
    """
    for name, attribute in (("connection_signature", "signature"), ("vocabulary", "vocabulary")):
        if getattr(model, attribute, None):
            write(args, name, getattr(model, attribute))
