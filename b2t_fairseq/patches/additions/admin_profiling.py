"""Run admin's profiling pass at the start of the first update.

Without it: `--connection-init admin` leaves every omega at 1, because no code of ours sees a training batch.
Versions: every fairseq so far.
"""

from fairseq.trainer import Trainer

from ...init.admin import profile
from ..wrap import wrap


def apply() -> None:
    wrap(Trainer, "train_step", __name__, _make)


def _make(original):
    def train_step(self, samples, *args, **kwargs):
        profile(self, samples)
        return original(self, samples, *args, **kwargs)

    return train_step
