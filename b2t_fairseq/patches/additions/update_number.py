"""Tell the model the number of updates before its first and after each, not only inside an update.

Without it: a model in a branch warm-up is validated and probed with the branches of one update before, or with full
ones before the first, so the validation loss in the log is not the one of the checkpoint that is saved. And nobody
says that a training ends before its branch warm-up does.
Versions: every fairseq so far; any torch.
"""

import logging
from typing import Any

from fairseq.trainer import Trainer
from torch import nn

from ...layers import Stack
from ..wrap import wrap

logger = logging.getLogger(__name__)


def apply() -> None:
    wrap(Trainer, "__init__", __name__, _make_init)
    wrap(Trainer, "set_num_updates", __name__, _make_set)
    wrap(Trainer, "train_step", __name__, _make_train_step)


def _make_init(original):
    def __init__(self, cfg, task, model, *args, **kwargs):
        warn_of_end(cfg, model)
        original(self, cfg, task, model, *args, **kwargs)

    return __init__


def _make_set(original):
    def set_num_updates(self, num_updates):
        original(self, num_updates)
        self.get_model().set_num_updates(num_updates)

    return set_num_updates


def _make_train_step(original):
    def train_step(self, *args, **kwargs):
        if self.get_num_updates() == 0:
            self.get_model().set_num_updates(0)
        return original(self, *args, **kwargs)

    return train_step


def warn_of_end(cfg: Any, model: nn.Module) -> None:
    """Log that `--max-update` ends a training before all branches have their full size."""
    stacks = [m for m in model.modules() if isinstance(m, Stack) and m.branch_warmup is not None]
    end = max((stack.branch_warmup.end(len(stack)) for stack in stacks), default=0)
    if 0 < (last := cfg.optimization.max_update if end else 0) < end:
        logger.warning(
            f"--max-update {last} ends before the branch warm-up, which takes {end} updates: the trained model's "
            "branches stay smaller than F; lower --branch-warmup, or train longer"
        )
