"""The inverse square root schedule without warm-up: lr_t = lr sqrt(P / (P + t)) after t updates.

Huang et al. 2020, "Improving Transformer Optimization Through Better Initialization" (T-Fixup), P = 4000. It is not
fairseq's `inverse_sqrt`: with warm-up that starts low, and without one it divides by its zero warm-up updates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import List  # noqa: UP035

from fairseq.dataclass import FairseqDataclass
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II

from ..common.errors import UserError


@dataclass
class InverseSqrtNoWarmupConfig(FairseqDataclass):
    """The schedule's options."""

    decay_period: int = field(default=4000, metadata={"help": "P in lr * sqrt(P / (P + updates))"})
    lr: List[float] = II("optimization.lr")  # noqa: UP006  (omegaconf knows no list[float])


@register_lr_scheduler("inverse_sqrt_nowarmup", dataclass=InverseSqrtNoWarmupConfig)
class InverseSqrtNoWarmup(FairseqLRScheduler):
    """lr sqrt(P / (P + t)), by the number of updates t; epochs do not matter."""

    def __init__(self, cfg: InverseSqrtNoWarmupConfig, optimizer):
        super().__init__(cfg, optimizer)
        rates = list(cfg.lr) if isinstance(cfg.lr, Sequence) else [cfg.lr]
        if len(rates) > 1:
            raise UserError(f"--lr-scheduler inverse_sqrt_nowarmup takes one --lr, not {len(rates)}")
        if cfg.decay_period <= 0:
            raise UserError(f"--decay-period {cfg.decay_period} must be positive")
        self.first_lr = rates[0]
        self.step_update(0)

    def step(self, epoch: int, val_loss: float | None = None) -> float:
        super().step(epoch, val_loss)
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        period = self.cfg.decay_period
        self.lr = self.first_lr * (period / (period + num_updates)) ** 0.5
        self.optimizer.set_lr(self.lr)
        return self.lr
