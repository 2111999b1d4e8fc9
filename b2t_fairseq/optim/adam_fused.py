"""`--optimizer adam_fused`: fairseq's Adam by torch's fused kernel, which passes over the parameters once an update.

The numbers are those of `--optimizer adam` (Kingma and Ba 2015, in the form with epsilon beside sqrt(v) before the bias
correction; decoupled weight decay), to rounding, and so are the states: either optimizer continues the other's
checkpoints. What is left out is work, not arithmetic: fairseq scales all gradients by the number of tokens and again
to clip them; here both factors are kept and applied by the kernel, as fairseq's own fp16 optimizers do, so between
backward and step `p.grad` is unscaled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from fairseq import utils
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import Tensor
from torch.optim.adamw import adamw

from ..common.errors import UserError

#: torch < 2.4 has no fused kernel for the CPU
FUSES_ON_CPU = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)


@dataclass
class FusedAdamConfig(FairseqAdamConfig):
    """fairseq's options of Adam."""


class FusedAdam(torch.optim.Optimizer):
    """The inner optimizer; its state is stock's: {"step": int, "exp_avg", "exp_avg_sq"} a parameter."""

    supports_flat_params = True

    def __init__(self, params, lr: float, betas: tuple[float, float], eps: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None, factor: float | Tensor = 1.0):
        """One update with all gradients multiplied by `factor`."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for step, members in self.by_step(group["params"]):
                self.update(group, step, members, factor)
        return loss

    def by_step(self, parameters: list[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
        """Return the parameters that have gradients, counted on and grouped: one group unless some were once frozen."""
        groups: dict = {}
        for p in parameters:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            state["step"] = int(state["step"]) + 1
            groups.setdefault((state["step"], p.device), []).append(p)
        return ((step, members) for (step, _), members in groups.items())

    def update(self, group: dict, step: int, members: list[Tensor], factor: float | Tensor) -> None:
        (beta1, beta2), device = group["betas"], members[0].device
        gradients = [p.grad for p in members]
        first = [self.state[p]["exp_avg"] for p in members]
        second = [self.state[p]["exp_avg_sq"] for p in members]
        # torch adds epsilon after the bias correction of v, fairseq before it
        eps = group["eps"] / math.sqrt(1 - beta2**step)
        if device.type == "cpu" and not FUSES_ON_CPU:
            torch._foreach_mul_(gradients, factor)
            steps = [torch.tensor(step - 1.0) for _ in members]
            decay = group["weight_decay"]
            options = {"beta1": beta1, "beta2": beta2, "lr": group["lr"], "weight_decay": decay, "eps": eps}
            adamw(members, gradients, first, second, [], steps, foreach=True, amsgrad=False, maximize=False, **options)
            return
        inverse = torch.as_tensor(1 / factor, dtype=torch.float32, device=device)
        steps = [torch.full((), float(step), device=device)] * len(members)
        torch._fused_adamw_(
            members,
            gradients,
            first,
            second,
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=eps,
            amsgrad=False,
            maximize=False,
            grad_scale=inverse,
        )


@register_optimizer("adam_fused", dataclass=FusedAdamConfig)
class FairseqFusedAdam(FairseqOptimizer):
    """The optimizer that fairseq's trainer holds.

    Raises:
        UserError: options of `adam` that need apex or a TPU.
    """

    def __init__(self, cfg: FusedAdamConfig, params):
        super().__init__(cfg)
        if cfg.fp16_adam_stats or cfg.use_old_adam:
            raise UserError("--optimizer adam_fused has no --fp16-adam-stats and no --use-old-adam: use adam for them")
        self._optimizer = FusedAdam(params, **self.optimizer_config)
        self._factor: float | Tensor = 1.0

    optimizer_config = FairseqAdam.optimizer_config

    def multiply_grads(self, c: float | Tensor) -> None:
        """Scale all gradients; done by the next step."""
        self._factor = self._factor * c

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn=None) -> Tensor:
        """Return the norm of the scaled gradients; above `max_norm` > 0 the next step scales them down to it."""
        norm = self.gradient_norm(aggregate_norm_fn) * self._factor
        if max_norm > 0:
            self.multiply_grads((max_norm / (norm + 1e-6)).clamp(max=1))
        return norm

    def gradient_norm(self, aggregate_norm_fn=None) -> Tensor:
        """Return the norm of the gradients as they are, not yet scaled; fairseq's is slow for hundreds of tensors."""
        trained = [p for p in self.params if p.grad is not None]
        kinds = {(p.grad.device, p.grad.dtype) for p in trained}
        if len(kinds) != 1 or kinds.pop()[1] != torch.float32 or any(hasattr(p, "expert") for p in trained):
            return utils.clip_grad_norm_(self.params, 0, aggregate_norm_fn)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([p.grad for p in trained])))
        return norm if aggregate_norm_fn is None else aggregate_norm_fn(norm)

    def step(self, closure=None, scale: float = 1.0, groups=None) -> None:
        """One update; fp16 training hands over the loss' `scale`."""
        self.optimizer.step(closure, factor=self._factor / scale)
        self._factor = 1.0

    def zero_grad(self) -> None:
        super().zero_grad()
        self._factor = 1.0


# fairseq's trainer compares the class' name with the checkpoint's before it resumes
FairseqFusedAdam.__name__ = FairseqAdam.__name__
