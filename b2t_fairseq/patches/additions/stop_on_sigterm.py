"""On SIGTERM, finish the update, save a checkpoint and exit with status 75.

Without it: fairseq does not handle SIGTERM: a pre-empted job loses everything since its last checkpoint.
Versions: every fairseq so far.

Each process notes the signal. After every update all of them ask each other (one number), so that they stop at the same
update even if only one machine got the signal. Rank 0 writes checkpoint_last.pt and a marker, and all exit with status
75 (EX_TEMPFAIL: try again later). The same command then resumes where the training stopped.
"""

import logging
import math
import multiprocessing
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed
from fairseq.trainer import Trainer

from ...common.files import write_record
from ..wrap import wrap

STATUS = 75  # EX_TEMPFAIL of sysexits.h: a scheduler's script queues the job again
MARKER = "preempted.json"  # in --save-dir, beside the checkpoint that was written

logger = logging.getLogger(__name__)
_asked = threading.Event()


def apply() -> None:
    wrap(Trainer, "get_train_iterator", __name__, _make_get_train_iterator)
    wrap(Trainer, "train_step", __name__, _make_train_step)


def _make_get_train_iterator(original):
    def get_train_iterator(self, *args, **kwargs):
        self.b2t_train_iterator = original(self, *args, **kwargs)  # a checkpoint holds its position
        return self.b2t_train_iterator

    return get_train_iterator


def _make_train_step(original):
    def train_step(self, *args, **kwargs):
        _listen()
        logged = original(self, *args, **kwargs)
        if _any_asked(self):
            _stop(self)
        return logged

    return train_step


def _listen() -> None:
    """Handle SIGTERM, where Python's default is in place; a second call changes nothing.

    Processes that fairseq spawned itself stay as they are: their parent ends them by SIGTERM when one of them fails.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and multiprocessing.parent_process() is None
        and signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN)
    ):
        signal.signal(signal.SIGTERM, _note)


def _note(number: int, frame: Any) -> None:
    # A scheduler signals the data loader's workers as well. Their end must not become an error of the current
    # update, whose batches are all in memory.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _asked.set()


def _any_asked(trainer: Trainer) -> bool:
    """Return whether any process of the training got the signal; the answer is the same in all of them."""
    if trainer.data_parallel_world_size == 1:
        return _asked.is_set()
    answer = torch.tensor([float(_asked.is_set())], device=trainer.device)
    distributed.all_reduce(answer, group=trainer.data_parallel_process_group, op="max")
    return bool(answer.item())


def _stop(trainer: Trainer) -> None:
    """Write the checkpoint and exit; after the last update, leave both to fairseq."""
    updates = trainer.get_num_updates()
    if updates >= (trainer.cfg.optimization.max_update or math.inf):
        return
    checkpoint_utils.save_checkpoint(trainer.cfg.checkpoint, trainer, trainer.b2t_train_iterator, None)
    if trainer.data_parallel_rank == 0 and not trainer.cfg.checkpoint.no_save:
        marker = {"updates": updates, "host": socket.gethostname(), "pid": os.getpid()}
        write_record(Path(trainer.cfg.checkpoint.save_dir) / MARKER, marker)
        logger.info(f"SIGTERM: stopped after update {updates}; the same command resumes from checkpoint_last.pt")
    _any_asked(trainer)  # nobody leaves before rank 0 has written
    raise SystemExit(STATUS)
