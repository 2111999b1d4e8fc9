"""Give a criterion that reads attention in training the attention that it reads.

Without it: our decoders compute the attention to the source in evaluation only, which saves time, and a criterion such
as `label_smoothed_cross_entropy_with_alignment` finds None in `net_output[1]["attn"]`.
Versions: every fairseq so far.

Which criterion reads it is seen from its source: one that mentions "attn". Without a source to read, it gets it.
"""

import inspect
import sys

from fairseq.criterions import FairseqCriterion
from fairseq.trainer import Trainer

from ..wrap import wrap


def apply() -> None:
    wrap(Trainer, "__init__", __name__, _make)


def _make(original):
    def __init__(self, cfg, task, model, criterion, *args, **kwargs):
        if reads_attention(criterion):
            for module in model.modules():
                if hasattr(module, "keeps_attention"):  # a decoder of ours
                    module.keeps_attention = True
        original(self, cfg, task, model, criterion, *args, **kwargs)

    return __init__


def reads_attention(criterion: FairseqCriterion) -> bool:
    """Return whether a criterion's source, or that of a class it derives from, mentions attention."""
    classes = [c for c in type(criterion).__mro__ if c not in FairseqCriterion.__mro__]
    try:
        sources = [inspect.getsource(sys.modules[c.__module__]) for c in classes]
    except (OSError, TypeError, KeyError):
        return True
    return any(f"{quote}attn{quote}" in source for source in sources for quote in ("'", '"'))
