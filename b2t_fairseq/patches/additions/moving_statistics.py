"""Give all workers of a training the moving statistics of the first, after every update.

Without it: with `--norm un` each worker keeps statistics of its own batches; validation and a resumed training would be
other functions on other workers.
Versions: every fairseq so far; `--broadcast-buffers` does it for one of the `--ddp-backend`s only.

Within an update each worker normalises by its own batch, as with batch normalisation. A loss scale is refused.
"""

from typing import Any

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer
from torch import nn

from ...common.errors import UserError
from ...norms.unified import UnifiedNorm
from ..wrap import wrap


def apply() -> None:
    wrap(Trainer, "__init__", __name__, _make_init)
    wrap(Trainer, "train_step", __name__, _make_train_step)


def _make_init(original):
    def __init__(self, cfg, task, model, *args, **kwargs):
        check_loss_scale(cfg, model)
        original(self, cfg, task, model, *args, **kwargs)

    return __init__


def _make_train_step(original):
    def train_step(self, *args, **kwargs):
        output = original(self, *args, **kwargs)
        if self.data_parallel_world_size > 1:
            share(self)
        return output

    return train_step


def moving_norms(model: nn.Module) -> list[UnifiedNorm]:
    """Return the norms that have moving statistics."""
    return [module for module in model.modules() if isinstance(module, UnifiedNorm)]


def check_loss_scale(cfg: Any, model: nn.Module) -> None:
    """Refuse training with a loss scale: UN averages gradients over batches, and each would have another scale.

    Raises:
        UserError: `--fp16` or `--amp`.
    """
    scaled = [name for name in ("fp16", "amp") if getattr(cfg.common, name, False)]
    if scaled and moving_norms(model):
        raise UserError(
            f"--{scaled[0]} does not go with --norm un: it averages gradients over batches, and their loss scale "
            "changes; use --bf16, or leave it out"
        )


@torch.no_grad()
def share(trainer: Trainer) -> None:
    """Give every worker the state of rank 0."""
    state = [buffer for norm in moving_norms(trainer.get_model()) for buffer in norm.buffers()]
    if not state:
        return
    values = torch.cat([buffer.float().flatten() for buffer in state])
    distributed_utils.broadcast(values, src=0, group=trainer.data_parallel_process_group)
    for buffer, value in zip(state, values.split([buffer.numel() for buffer in state]), strict=True):
        buffer.copy_(value.view_as(buffer))
