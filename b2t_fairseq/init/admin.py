"""admin: the stock initialisation; then omega from the variances of one training batch, before the first update.

Liu et al. 2020, "Understanding the Difficulty of Training Transformers". In each stack r = 1 at first; sub-layer after
sub-layer, in order of execution:

    omega <- r (all entries);    f = F(x);    r <- sqrt(Var(omega * x) + Var(f))

Var is the population variance over all elements (time, batch, channel) in float32, and the new omega is used at once.
The pass runs inside the normal training run: in train mode, on the first micro-batch of the first update, once.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from fairseq.trainer import Trainer
from torch import Tensor, nn

from ..common.errors import UserError
from ..connections import Connection
from ..layers import Stack

logger = logging.getLogger(__name__)


def admin(stacks) -> None:
    """Nothing yet: the profiling pass waits for the first batch.

    Raises:
        UserError: the connection has no omega.
    """
    for stack in stacks.present():
        if not hasattr(stack.connection, "omega"):
            name = stack.connection.name
            raise UserError(f"--connection-init admin sets omega, and connection '{name}' has none: use another one")


class ProfiledStream(NamedTuple):
    """The output so far (T, B, C), and the running scalar r."""

    x: Tensor
    r: Tensor


class Profiling(Connection):
    """Stands in for a connection with omega during the profiling pass, and sets its omega on the way."""

    def __init__(self, profiled: Connection):
        super().__init__(profiled.config)
        self.profiled = profiled

    def open(self, x):
        return ProfiledStream(x, r=torch.ones((), device=x.device))

    def sublayer(self, stream, l, j, branch, norms):
        omega = self.profiled.omega_of(l, j).fill_(stream.r)
        f = branch(stream.x)
        x = self.profiled.sublayer(stream.x, l, j, lambda _: f, norms)
        return ProfiledStream(x, r=(variance(omega * stream.x) + variance(f)).sqrt())

    def close(self, stream, final_norm):
        return self.profiled.close(stream.x, final_norm)


def variance(x: Tensor) -> Tensor:
    """Return the population variance over all elements, in float32."""
    return x.float().var(unbiased=False)


@contextmanager
def profiling(stacks: list[Stack]) -> Iterator[None]:
    """Within it, a forward pass sets omega; every layer takes part with its full branches.

    That is, also under LayerDrop and before a branch warm-up.
    """
    before = [(stack.connection, stack.layerdrop, stack.branch_warmup) for stack in stacks]
    try:
        for stack in stacks:
            stack.connection, stack.layerdrop, stack.branch_warmup = Profiling(stack.connection), 0.0, None
        yield
    finally:
        for stack, (connection, layerdrop, branch_warmup) in zip(stacks, before, strict=True):
            stack.connection, stack.layerdrop, stack.branch_warmup = connection, layerdrop, branch_warmup


def waiting_stacks(model: nn.Module) -> list[Stack]:
    """Return the stacks whose omega is still to be set: not those whose omega came out of a checkpoint."""
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    return [stack for stack in stacks if stack.init_name == "admin" and not stack.connection.profiled]


@torch.no_grad()
def profile(trainer: Trainer, samples: list) -> None:
    """Set omega of a trainer's model from the first micro-batch, alike on all workers; a second call does nothing.

    Args:
        trainer: fairseq's trainer, before its first update.
        samples: the micro-batches of that update; an empty one is fairseq's filler for a worker without data.
    """
    model = trainer.get_model()
    stacks = waiting_stacks(model)
    if not stacks or trainer.get_num_updates() > 0:
        return
    if trainer.data_parallel_rank == 0:
        sample, _ = trainer._prepare_sample(next(filter(None, samples), samples[0]))
        devices = [torch.cuda.current_device()] if trainer.cuda else []
        was_training = model.training
        # the masks of the first update; afterwards the random state is as if nothing had happened
        with torch.random.fork_rng(devices), profiling(stacks):
            trainer._set_seed()
            model.train()(**sample["net_input"])
        model.train(was_training)
    omegas = [omega for stack in stacks for omega in stack.connection.omega]
    share(trainer, omegas)
    refresh_copies(trainer, omegas)
    for stack in stacks:
        stack.connection.profiled = True
        values = torch.stack([omega.float().mean() for omega in stack.connection.omega])
        logger.info(f"admin: omega of the {stack.config.side} from {values.min():.4f} to {values.max():.4f}")


def share(trainer: Trainer, omegas: list[Tensor]) -> None:
    """Give every worker the values of rank 0."""
    if trainer.data_parallel_world_size > 1:
        from fairseq.distributed import utils as distributed

        values = torch.cat([omega.float() for omega in omegas])
        distributed.broadcast(values, src=0, group=trainer.data_parallel_process_group)
        for omega, value in zip(omegas, values.split([len(omega) for omega in omegas]), strict=True):
            omega.copy_(value)


def refresh_copies(trainer: Trainer, omegas: list[Tensor]) -> None:
    """Bring the new omegas into fairseq's copies of the parameters.

    Those are the float32 masters of --fp16 and --bf16 (in the memory-efficient forms there are none), a list or, per
    device, one flat tensor, which the optimizer updates and copies back; and the moving average of --store-ema.
    """
    optimizer, new = trainer.optimizer, {id(omega) for omega in omegas}
    masters = getattr(optimizer, "fp32_params", None) or ()
    if isinstance(masters, dict):
        for device, flat in masters.items():
            params = [p for p in optimizer.fp16_params if p.device.index == device]
            parts = flat.data.split([p.numel() for p in params])
            refresh(zip(params, parts, strict=True), new)
    elif masters:
        refresh(zip(optimizer.fp16_params, masters, strict=True), new)
    if trainer.cfg.ema.store_ema:
        names = {name for name, p in trainer.get_model().named_parameters() if id(p) in new}
        values = {k: v for k, v in trainer.get_model().state_dict().items() if k in names}
        trainer.ema.restore(values, build_fp32_params=trainer.cfg.ema.ema_fp32)


def refresh(pairs: Any, new: set[int]) -> None:
    """Copy each parameter of (parameter, copy) whose id is in `new` into its copy."""
    for p, copy in pairs:
        if id(p) in new:
            copy.data.copy_(p.data.view_as(copy))
