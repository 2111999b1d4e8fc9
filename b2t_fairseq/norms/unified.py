"""UN, Unified Normalization: gamma x / sqrt(sigma^2 + eps) + beta, sigma^2 per channel over all tokens; no mean.

Yang et al. 2022, "Unified Normalization for Accelerating and Stabilizing Transformers", arXiv 2208.01313; checked
against the authors' code for translation. In training, t the number of the update that is being made, from 1 on:

    m_t      = mean of x^2 over all tokens of the batch, pads too
    sigma^2  = m_t while t < 4000, then the geometric mean of the last 4 m
    r        = 1 while t <= 4000, then sqrt((sigma^2 + eps) / (running + eps)), clamped to [1/5, 5]
    running <- 0.9 running + 0.1 sigma^2                              in evaluation and decoding sigma^2 is `running`

    backward, with z = x / sqrt(sigma^2 + eps) and g = r gamma dL/dy:
    e <- 0.9 e + 0.1 a,    a = mean of g z over all tokens while t < 4000, then the mean of the last 4
    dL/dx = (g - e z) / sqrt(sigma^2 + eps),    dL/dgamma = sum(r z dL/dy)

"last" counts batches, so micro-batches where an update has several. Left out: the option without pads, and the filter
of outliers, which the authors switch off for text. An average of checkpoints averages `running` and leaves the rest of
the state out (`OF_TRAINING`); where it is missing, it begins anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WARM_UP, SHORTEST_WITHOUT_RATIO = 4000, 1000  # updates
WINDOW = 4  # batches
MOMENTUM = 0.9
LARGEST_RATIO = 5.0
#: what of the state only a training needs
OF_TRAINING = ("moment_window", "batches_seen", "gradient_window", "gradient_mean")


class Statistics(NamedTuple):
    """Of one forward pass: sigma^2 (C,), r (C,), and whether the windows are full, so that their means are taken."""

    variance: Tensor
    ratio: Tensor
    is_full: Tensor


_keep: ContextVar[list[Statistics] | None] = ContextVar("statistics of a first pass are appended to it", default=None)
_kept: ContextVar[Iterator[Statistics] | None] = ContextVar("a second pass takes its statistics from it", default=None)


@contextmanager
def first_pass(statistics: list[Statistics]) -> Iterator[None]:
    """Within it, norms leave what a second pass over the same batch needs."""
    token = _keep.set(statistics)
    try:
        yield
    finally:
        _keep.reset(token)


@contextmanager
def second_pass(statistics: list[Statistics]) -> Iterator[None]:
    """Within it, norms use what the first pass has left, and leave their moments as they are."""
    token = _kept.set(iter(statistics))
    try:
        yield
    finally:
        _kept.reset(token)


class UnifiedNorm(nn.Module):
    """UN over all dimensions but the last; its state is float32, whatever the model is.

    Args:
        width: size of the last dimension.
        eps: added to sigma^2.
    """

    running: Tensor
    moment_window: Tensor
    batches_seen: Tensor
    gradient_window: Tensor
    gradient_mean: Tensor

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.eps, self.warm_up = eps, WARM_UP
        self.updates = 0  # made so far; fairseq sets it
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running", torch.ones(width))
        self.register_buffer("moment_window", torch.zeros(WINDOW, width))  # the newest is the last
        # at most WINDOW + 1; not an integer, which --store-ema cannot average
        self.register_buffer("batches_seen", torch.zeros(()))
        self.register_buffer("gradient_window", torch.zeros(WINDOW, width))
        self.register_buffer("gradient_mean", torch.zeros(width))

    def set_num_updates(self, updates: int) -> None:
        """Note how many updates have been made; fairseq calls it before every batch, and when it loads a checkpoint."""
        self.updates = updates

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            y = wide(x) * ((self.running + self.eps).rsqrt() * self.weight) + self.bias
            return y.to(torch.promote_types(x.dtype, self.weight.dtype))
        again, keep = _kept.get(), _keep.get()
        statistics = self.measure(x) if again is None else next(again)
        if keep is not None:
            keep.append(statistics)
        return Normalisation.apply(x, self.weight, self.bias, self, *statistics)

    @torch.no_grad()
    def measure(self, x: Tensor) -> Statistics:
        """Take a batch into the state, and return what it is normalised by."""
        moment = wide(x).square().flatten(0, -2).mean(0)
        push(self.moment_window, moment)
        self.batches_seen.add_(1).clamp_(max=WINDOW + 1)
        is_full = self.batches_seen > WINDOW  # as in the authors' code from the fifth batch on
        variance, ratio = moment, torch.ones_like(moment)
        if self.updates + 1 >= self.warm_up:
            variance = torch.where(is_full, self.moment_window.log().mean(0).exp(), moment)
        if self.updates + 1 > max(SHORTEST_WITHOUT_RATIO, self.warm_up):
            ratio = ((variance + self.eps) / (self.running + self.eps)).sqrt()
            ratio = ratio.clamp(1 / LARGEST_RATIO, LARGEST_RATIO)
        self.running.mul_(MOMENTUM).add_(variance, alpha=1 - MOMENTUM)
        return Statistics(variance, ratio, is_full)

    @torch.no_grad()
    def smoothed(self, gradient: Tensor, is_full: Tensor) -> Tensor:
        """Take a batch's mean of g z into the state, and return the moving mean e."""
        push(self.gradient_window, gradient)
        if self.updates + 1 >= self.warm_up:
            gradient = torch.where(is_full, self.gradient_window.mean(0), gradient)
        return self.gradient_mean.mul_(MOMENTUM).add_(gradient, alpha=1 - MOMENTUM)

    def _apply(self, fn, *args, **kwargs):
        """Follow the model to another device; in half precision the state stays as it is."""
        before = dict(self._buffers)
        super()._apply(fn, *args, **kwargs)
        for name, now in self._buffers.items():
            if now.is_floating_point() and now.dtype != torch.promote_types(now.dtype, torch.float32):
                self._buffers[name] = before[name].to(now.device)
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in OF_TRAINING:  # an average of checkpoints is without
            state_dict.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, warm_up={self.warm_up}"


class Normalisation(torch.autograd.Function):
    """The graph's node: UN's own backward pass, in which sigma^2 is a constant."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, norm: UnifiedNorm, *statistics: Tensor) -> Tensor:
        ctx.norm = norm
        ctx.save_for_backward(x, weight, *statistics)
        variance, *_ = statistics
        y = wide(x) * ((variance + norm.eps).rsqrt() * weight) + bias
        return y.to(torch.promote_types(x.dtype, weight.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, variance, ratio, is_full = ctx.saved_tensors
        scale = (variance + ctx.norm.eps).rsqrt()
        z, gradient = wide(x) * scale, wide(gradient)
        g = gradient * (weight * ratio)
        e = ctx.norm.smoothed((g * z).flatten(0, -2).mean(0), is_full)
        to_x = ((g - e * z) * scale).to(x.dtype)
        to_weight = ((gradient * z).flatten(0, -2).sum(0) * ratio).to(weight.dtype)
        to_bias = gradient.flatten(0, -2).sum(0).to(weight.dtype)
        return to_x, to_weight, to_bias, *(None,) * (1 + len(Statistics._fields))


def wide(x: Tensor) -> Tensor:
    """Return x in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def push(window: Tensor, newest: Tensor) -> None:
    """Move the rows of a window up by one, and put the newest last."""
    window.copy_(torch.cat([window[1:], newest.to(window.dtype).unsqueeze(0)]))
