"""Branch warm-up: every branch F begins near 0 and reaches its full size after some updates (`--branch-warmup N`).

    progressive    F x min((t + 1) / (N l), 1)      ProRes (Chen et al. 2026, arXiv 2603.05369): lower layers first
    equal          F x min((t + 1) / N, 1)          all layers alike; on Post-LN the idea of BranchNorm
                                                    (2023, arXiv 2305.02790), whose own schedule we could not verify

l is the layer's number, t the updates made so far. fairseq gives t to every module with `set_num_updates`: before each
update, and when a checkpoint is loaded to resume, to validate or to generate. A model that was never given t is taken
as trained: its branches have their full size.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

SCHEDULES = ("progressive", "equal")


class BranchWarmup(nn.Module):
    """The schedule of one stack, and how far it has come.

    Args:
        updates: N.
        schedule: "progressive" or "equal".
    """

    def __init__(self, updates: int, schedule: str):
        super().__init__()
        self.updates, self.schedule = updates, schedule
        self.num_updates: int | None = None  # t; None: over

    def set_num_updates(self, num_updates: int) -> None:
        """Note how many updates were made; fairseq calls this."""
        if self.num_updates is not None and num_updates < self.num_updates:
            logger.warning(f"branch warm-up: begins again at update {num_updates}, as after --reset-optimizer")
        self.num_updates = num_updates

    def factor(self, number: int) -> float:
        """Return what the branches of layer `number` = 1...L are multiplied by."""
        if self.num_updates is None:
            return 1.0
        length = self.updates * (number if self.schedule == "progressive" else 1)
        return min((self.num_updates + 1) / length, 1.0)  # + 1: with 0, no branch would learn from the first update

    def end(self, depth: int) -> int:
        """Return the first update count at which all layers of a stack of this depth have their full size."""
        return max(self.updates * (depth if self.schedule == "progressive" else 1) - 1, 0)

    def scale(self, number: int, like: Tensor) -> Tensor | None:
        """Return the factor as a tensor, for which torch.compile does not compile again; None once it is 1."""
        factor = self.factor(number)
        return None if factor == 1 else torch.full((), factor, device=like.device)

    def extra_repr(self) -> str:
        return f"updates={self.updates}, schedule={self.schedule}"


def ends_at(options: dict[str, Any], depth: int) -> int:
    """Return the first update count at which a model of this depth has left its warm-up; 0 without one."""
    updates = int(options.get("branch_warmup") or 0)
    return BranchWarmup(updates, options.get("branch_warmup_schedule") or SCHEDULES[0]).end(depth)
