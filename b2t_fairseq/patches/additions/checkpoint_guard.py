"""Refuse to resume from a checkpoint of another model or another vocabulary.

Without it: fairseq silently loads one model into another that has the same parameters, as Post-LN and B2T have, and
embeddings whose rows belong to other symbols.
Versions: every fairseq so far.
"""

from contextvars import ContextVar
from typing import Any

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from ...checkpoints.arguments import write
from ...checkpoints.signature import after_pruning, check_same_function, layers_to_keep, signature_of
from ...checkpoints.vocabulary import check_same_vocabulary
from ..wrap import wrap

_trained: ContextVar[Any] = ContextVar(
    "the model being trained, and the layers that are kept of a checkpoint", default=(None, {})
)


def apply() -> None:
    wrap(Trainer, "load_checkpoint", __name__, _make_load_into_trainer)
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _make_load_to_cpu)


def _make_load_into_trainer(original):
    def load_checkpoint(self, *args, **kwargs):  # every training passes here before its first update
        note_in_arguments(self.cfg.model, self._model)
        token = _trained.set((self._model, layers_to_keep(self.cfg.model)))
        try:
            return original(self, *args, **kwargs)
        finally:
            _trained.reset(token)

    return load_checkpoint


def _make_load_to_cpu(original):
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        state = original(path, *args, **kwargs)
        model, kept = _trained.get()
        check_same_function(after_pruning(signature_of(state), kept), getattr(model, "signature", None), path)
        check_same_vocabulary(state, getattr(model, "vocabulary", None), path)
        return state

    return load_checkpoint_to_cpu


def note_in_arguments(args: Any, model: Any) -> None:
    """Write what a model of ours says of itself into the arguments that its checkpoints will save.

    The model has done so, but for `--arch transformer_lm_b2t` and hydra fairseq hands it a copy of the arguments.
    """
    for name, attribute in (("connection_signature", "signature"), ("vocabulary", "vocabulary")):
        if getattr(model, attribute, None):
            write(args, name, getattr(model, attribute))
