"""Give a resumed training the batches that the uninterrupted one would have seen.

Without it: a run that is resumed in epoch 2 or later forms other batches than the run that was interrupted. fairseq
forms the batches once, with a random order among sentences of equal length that is seeded by the epoch in which the
process starts. In the middle of an epoch the run continues at the same batch number of the new ones: some sentences are
seen twice in that epoch and some not at all.
Versions: git main, fairseq-fixed 0.12.3.1, ve-fairseq 0.12.3; any torch.
Unnecessary: with PyPI fairseq 0.12.2, whose seed does not depend on the epoch, and where the patch changes nothing.
"""

import inspect
from unittest import mock

from fairseq.data import data_utils
from fairseq.tasks.fairseq_task import FairseqTask

from ..wrap import wrap

FIRST_EPOCH = 1


def apply() -> None:
    wrap(FairseqTask, "get_batch_iterator", __name__, _make)


def _make(original):
    signature = inspect.signature(original)

    def get_batch_iterator(self, *args, **kwargs):
        call = signature.bind(self, *args, **kwargs)
        call.apply_defaults()
        given = call.arguments
        formed_once = (
            not given.get("disable_iterator_cache")
            and not given.get("update_epoch_batch_itr")
            and not getattr(getattr(self, "cfg", None), "rebuild_batches", False)
            and self.can_reuse_epoch_itr(given["dataset"])
        )
        if not formed_once:
            return original(self, *args, **kwargs)
        numpy_seed, of_this_epoch = data_utils.numpy_seed, given["seed"] + given["epoch"]

        def seed_of_first_epoch(seed, *more):
            return numpy_seed(given["seed"] + FIRST_EPOCH if (seed, more) == (of_this_epoch, ()) else seed, *more)

        with mock.patch.object(data_utils, "numpy_seed", seed_of_first_epoch):
            return original(self, *args, **kwargs)

    return get_batch_iterator
