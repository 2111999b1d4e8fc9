"""SIGTERM ends a training after the update at hand, with a checkpoint; a loss that is no number, with a sentence.

fairseq knows no SIGTERM: a pre-empted job loses everything since its last checkpoint. With this, each process notes the
signal; after every update all of them ask each other (one number), so that they stop at the same one even if only one
machine was told; rank 0 writes checkpoint_last.pt and a marker, and all leave with status 75 (EX_TEMPFAIL: come back).
The same command then goes on as if nothing had happened. Versions: every fairseq so far.
"""

import json
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

from ...common.errors import UserError
from ..wrap import wrap

STATUS = 75  # EX_TEMPFAIL of sysexits.h: what a scheduler's script takes for "queue it again"
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
        try:
            logged = original(self, *args, **kwargs)
        except Exception as error:
            number_error = floating_point_error(error)
            if number_error is None:
                raise
            # fp16's "Minimum loss scale reached …" says itself what happened and what to do
            why = str(number_error) if "loss scale" in str(number_error) else "its gradients became NaN or infinite"
            raise UserError(diverged(self.get_num_updates(), why)) from error
        loss = (logged or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise UserError(diverged(self.get_num_updates(), f"its loss became {float(loss)}"))
        if _any_asked(self):
            _stop(self)
        return logged

    return train_step


def floating_point_error(error: BaseException | None) -> FloatingPointError | None:
    """The one that an exception is or came after.

    fairseq runs the batch again to find where NaN began, and that search fails on a current torch (StopIteration in a
    backward hook), so what arrives is often not the error that matters.
    """
    while error is not None and not isinstance(error, FloatingPointError):
        error = error.__context__
    return error


def diverged(updates: int, why: str) -> str:
    """The sentence for a training that has no use going on."""
    return (
        f"training failed: the model diverged after {updates} updates: {why.rstrip('.')} (FloatingPointError); "
        "try a lower --lr, a longer --warmup-updates or another --connection"
    )


def _listen() -> None:
    """Takes SIGTERM over from Python's default; idempotent.

    Processes that fairseq spawned itself stay as they are: their parent ends them by SIGTERM when one of them fails.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and multiprocessing.parent_process() is None
        and signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN)
    ):
        signal.signal(signal.SIGTERM, _note)


def _note(number: int, frame: Any) -> None:
    # A scheduler signals the data loader's workers as well. Their end must not become an error of the update at hand,
    # whose batches are all in memory.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _asked.set()


def _any_asked(trainer: Trainer) -> bool:
    """Whether any process of the training was told to stop; the same answer in all of them."""
    if trainer.data_parallel_world_size == 1:
        return _asked.is_set()
    answer = torch.tensor([float(_asked.is_set())], device=trainer.device)
    distributed.all_reduce(answer, group=trainer.data_parallel_process_group, op="max")
    return bool(answer.item())


def _stop(trainer: Trainer) -> None:
    """Writes the checkpoint and leaves; what is complete anyway is left to fairseq."""
    updates = trainer.get_num_updates()
    if updates >= (trainer.cfg.optimization.max_update or math.inf):
        return
    folder = Path(trainer.cfg.checkpoint.save_dir)
    checkpoint_utils.save_checkpoint(trainer.cfg.checkpoint, trainer, trainer.b2t_train_iterator, None)
    if trainer.data_parallel_rank == 0 and not trainer.cfg.checkpoint.no_save:
        marker = {"updates": updates, "host": socket.gethostname(), "pid": os.getpid()}
        temporary = folder / (MARKER + ".tmp")
        temporary.write_text(json.dumps(marker) + "\n", encoding="utf-8")
        os.replace(temporary, folder / MARKER)
        logger.info(f"SIGTERM: stopped after update {updates}; the same command goes on from checkpoint_last.pt")
    _any_asked(trainer)  # nobody leaves before rank 0 has written
    raise SystemExit(STATUS)
