"""Probes of a model in training (`--probe-interval N`): JSON lines in SAVE_DIR/probes.jsonl, and TensorBoard.

Before the first update and after every N-th: `gradients`, `ffn-gradients` and `growth`, on the first micro-batch of the
current update as rank 0 sees it, in evaluation mode, in one pass. The training's numbers stay what they are to the
last bit: no random number is drawn, and no gradient, parameter or mode of the model is changed.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

from fairseq.logging import progress_bar
from fairseq.trainer import Trainer

from ..common.errors import UserError
from ..common.files import disk_full_as_one_line, read_records, write_atomically
from . import probes

NAMES = ("gradients", "ffn-gradients", "growth")
FILE = "probes.jsonl"


class Probing:
    """The probes of one training.

    Args:
        trainer: fairseq's trainer, before an update.

    Raises:
        UserError: a training that cannot be probed.
    """

    def __init__(self, trainer: Trainer):
        if trainer.tpu:
            raise UserError("--probe-interval: not on TPUs, where each probe would be compiled; leave it out")
        self.last = -1
        self.path = Path(trainer.cfg.checkpoint.save_dir) / FILE
        folder, self.board = trainer.cfg.common.tensorboard_logdir, None
        if folder and progress_bar.SummaryWriter is not None:  # fairseq itself says how to install it
            self.board = progress_bar.SummaryWriter(os.path.join(folder, "probes"))
        # what a killed run measured after the checkpoint that this one resumes from is measured again
        before = trainer.get_num_updates()
        known = [record for record in read_records(self.path, update=int) if record["update"] <= before]
        known = known if before else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(f"{json.dumps(record)}\n" for record in known))

    def probe(self, trainer: Trainer, samples: list[Any]) -> None:
        """Measure the model on the first micro-batch, and write the records."""
        model, update = trainer.get_model(), trainer.get_num_updates()
        if update == self.last:  # --amp repeats a batch inside its own step
            return
        self.last = update
        sample, _ = trainer._prepare_sample(next(filter(None, samples), samples[0]))
        records = probes.measure(model, sample, NAMES, scale=scale_of(trainer, sample))
        about = {**probes.identity(model.signature), "update": update, "seed": trainer.cfg.common.seed}
        with disk_full_as_one_line(self.path), open(self.path, "a", encoding="utf-8") as lines:
            for record in records:
                lines.write(json.dumps({"probe": record["probe"], **about, **record}) + "\n")
        if self.board is not None:
            for record in records:
                name = record["probe"] + (f"-{record['weights']}" if "weights" in record else "")
                value = math.nan if record["value"] is None else record["value"]
                self.board.add_scalar(f"{name}/{record['side']}_{record['layer']:02}", value, update)
            self.board.flush()


def scale_of(trainer: Trainer, sample: dict[str, Any]) -> float:
    """Return by what to multiply the loss: 1, or with --fp16 what fairseq's loss scale makes of it, a power of two."""
    scaler = getattr(trainer.optimizer, "scaler", None)
    if not trainer.cfg.common.fp16 or scaler is None:
        return 1.0
    return 2.0 ** round(math.log2(max(1.0, scaler.loss_scale * sample["ntokens"])))


def interval_of(trainer: Trainer) -> int:
    """Return the model's `--probe-interval`; 0 is never."""
    return getattr(getattr(trainer.cfg, "model", None), "probe_interval", None) or 0


def before_update(trainer: Trainer, samples: list[Any]) -> None:
    """Begin, and measure the model before its first update."""
    if interval_of(trainer) and trainer.data_parallel_rank == 0 and not hasattr(trainer, "b2t_probing"):
        trainer.b2t_probing = Probing(trainer)
        if trainer.get_num_updates() == 0:
            trainer.b2t_probing.probe(trainer, samples)


def after_update(trainer: Trainer, samples: list[Any], before: int) -> None:
    """Measure after every N-th update; `before`: the updates before this step, which may not have made one."""
    interval, update = interval_of(trainer), trainer.get_num_updates()
    if interval and trainer.data_parallel_rank == 0 and update > before and update % interval == 0:
        trainer.b2t_probing.probe(trainer, samples)
