"""Measure gradients and variances of the layers during training (`--probe-interval N`).

Without it: no code of ours sees the model and the batch after an update.
Versions: every fairseq so far.

What is measured, and where it goes: `analysis/during_training.py`.
"""

from fairseq.trainer import Trainer

from ...analysis import during_training
from ..wrap import wrap


def apply() -> None:
    wrap(Trainer, "train_step", __name__, _make)


def _make(original):
    def train_step(self, samples, *args, **kwargs):
        during_training.before_update(self, samples)
        before = self.get_num_updates()
        logged = original(self, samples, *args, **kwargs)
        during_training.after_update(self, samples, before)
        return logged

    return train_step
