"""Tell the model the number of updates before its first and after each, not only inside an update.

Without it: a model in a branch warm-up is validated and probed with the branches of one update before, or with full
ones before the first, so the validation loss in the log is not the one of the checkpoint that is saved.
Versions: every fairseq so far; any torch.
"""

from fairseq.trainer import Trainer

from ..wrap import wrap


def apply() -> None:
    wrap(Trainer, "set_num_updates", __name__, _make_set)
    wrap(Trainer, "train_step", __name__, _make_train_step)


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
