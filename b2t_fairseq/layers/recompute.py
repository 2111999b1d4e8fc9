"""Activation checkpointing: what a layer would keep for its backward pass is computed again when that comes.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". A stack's own form of `torch.utils.checkpoint`:

- The first pass builds no graph, and no Python runs for each tensor in it; narrow layers feel both.
- Tensors that a layer hands on as they are (the history of DLCL) go past it: their gradients are not summed each time.
- Parameters are inputs of the graph's node: gradients reach them as they do without recomputation, also of those that
  layers share, as distributed training expects.
- On a CPU what outlasts a layer moves out of the gaps between the layer's temporary tensors: glibc reuses a gap only
  if nothing small has come to lie in it, and the process would grow to three times what torch holds.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import get_device_states, set_device_states

from ..norms.unified import Statistics, first_pass, second_pass


def recomputed(
    run: Callable[[Any, Any], Any],
    stream: Any,
    context: Any,
    own: Sequence[nn.Parameter],
    shared: Sequence[nn.Parameter],
    graph_at_first: bool = False,
) -> Any:
    """`run(stream, context)`, computed again in the backward pass, with the same dropout masks.

    Args:
        run: a layer.
        stream: a tensor, or a named tuple of tensors and tuples of tensors.
        context: what else the layer reads; its tensors get gradients, too.
        own: the layer's parameters.
        shared: others that it may use. Parameters in neither get no gradients.
        graph_at_first: the first pass builds a graph, too; for a `run` that would not draw the same masks without.

    Returns:
        What `run` returns, the same kind of thing as `stream`.
    """
    leaves, takes = tree_flatten((stream, context))
    tensors = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
    rest = [None if i in tensors else leaf for i, leaf in enumerate(leaves)]
    segment = Segment(run, takes, rest, list(tensors), graph_at_first)
    own, shared = ([p for p in parameters if p.requires_grad] for parameters in (own, shared))
    inputs = list(tensors.values())
    known = [*inputs, *Recomputation.apply(segment, len(own), len(shared), *own, *shared, *inputs)]
    return tree_unflatten([known[i] for i in segment.sources], segment.returns)


class Segment:
    """`run` as a function of a list of tensors.

    Attributes:
        sources: after a run, for each tensor that it returned, which one it is of the inputs and the new ones together.
        returns: after a run, how they were packed.
        statistics: after the first run, what norms with moving statistics use again in the second.
    """

    def __init__(self, run: Callable, takes: Any, rest: list, places: list[int], graph_at_first: bool):
        self.run, self.takes, self.rest, self.places, self.graph_at_first = run, takes, rest, places, graph_at_first
        self.sources: list[int] = []
        self.returns: Any = None
        self.statistics: list[Statistics] = []

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the new tensors among what `run` returns."""
        leaves = list(self.rest)
        for place, tensor in zip(self.places, inputs, strict=True):
            leaves[place] = tensor
        returned, self.returns = tree_flatten(self.run(*tree_unflatten(leaves, self.takes)))
        numbers, new = {id(tensor): i for i, tensor in enumerate(inputs)}, []
        for tensor in returned:
            if id(tensor) not in numbers:
                numbers[id(tensor)] = len(inputs) + len(new)
                new.append(tensor)
        self.sources = [numbers[id(tensor)] for tensor in returned]
        return new


class Conditions(NamedTuple):
    """What a second run needs to be the same: autocast's settings and the generators' states."""

    autocast: dict[str, Any]
    generator: Tensor
    devices: list[int]
    device_generators: list[Tensor]

    @classmethod
    def now(cls, tensors: Sequence[Tensor]) -> "Conditions":
        """Return the present ones, for computations with such tensors."""
        return cls(autocast_settings(tensors[0].device.type), torch.get_rng_state(), *get_device_states(*tensors))

    def again(self, function: Callable[[Sequence[Tensor]], list[Tensor]], inputs: Sequence[Tensor]) -> list[Tensor]:
        """`function(inputs)` under these conditions, with a graph; the generators stay where they are."""
        with torch.random.fork_rng(self.devices), torch.enable_grad(), torch.autocast(**self.autocast):
            torch.set_rng_state(self.generator)
            set_device_states(self.devices, self.device_generators)
            return function(inputs)


class Recomputation(torch.autograd.Function):
    """The graph's node of a segment: its new tensors, from parameters and inputs."""

    @staticmethod
    def forward(ctx, segment: Segment, own: int, shared: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.segment, ctx.own, ctx.shared = segment, tensors[:own], tensors[own : own + shared]
        inputs = tensors[own + shared :]
        ctx.save_for_backward(*inputs)
        ctx.conditions = Conditions.now(inputs)
        # without a graph, what autocast would cache here must not be met again where one is needed
        caches = ctx.conditions.autocast["cache_enabled"] and segment.graph_at_first
        autocast = torch.autocast(**{**ctx.conditions.autocast, "cache_enabled": caches})
        with autocast, torch.set_grad_enabled(segment.graph_at_first), first_pass(segment.statistics):
            new = segment(inputs)
        return tuple(in_a_new_block(tensor) for tensor in new)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(gradient is None for gradient in gradients):
            return (None,) * len(ctx.needs_input_grad)
        lasting = one_block(ctx.own)  # before anything temporary
        needs = ctx.needs_input_grad[-len(ctx.saved_tensors) :]
        inputs = [x.detach().requires_grad_(need) for x, need in zip(ctx.saved_tensors, needs, strict=True)]
        with second_pass(ctx.segment.statistics):
            new = ctx.conditions.again(ctx.segment, inputs)
        wanted = [*ctx.own, *ctx.shared, *(x for x in inputs if x.requires_grad)]
        reached, arrived = zip(*((x, g) for x, g in zip(new, gradients, strict=True) if g is not None), strict=True)
        results = iter(torch.autograd.grad(reached, wanted, arrived, allow_unused=True))
        own = [put(next(results), place) for place in lasting]
        shared = [next(results) for _ in ctx.shared]
        return None, None, None, *own, *shared, *(next(results) if need else None for need in needs)


def autocast_settings(device: str) -> dict[str, Any]:
    """Arguments of `torch.autocast` that set what is set now."""
    if hasattr(torch, "get_autocast_dtype"):
        enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    elif device == "cpu":  # torch < 2.4
        enabled, dtype = torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
    else:
        enabled, dtype = torch.is_autocast_enabled(), torch.get_autocast_gpu_dtype()
    cached = torch.is_autocast_cache_enabled()
    return {"device_type": device, "enabled": enabled, "dtype": dtype, "cache_enabled": cached}


def in_a_new_block(tensor: Tensor) -> Tensor:
    """On a CPU a copy: made when the rest is free again, it fills the smallest gap."""
    return tensor.clone() if tensor.device.type == "cpu" else tensor


def one_block(parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """On a CPU places for their gradients side by side; None elsewhere, and for parameters of several types."""
    if {p.device.type for p in parameters} != {"cpu"} or len({p.dtype for p in parameters}) > 1:
        return [None] * len(parameters)
    block = torch.empty(sum(p.numel() for p in parameters), dtype=parameters[0].dtype)
    pieces = block.split([p.numel() for p in parameters])
    return [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]


def put(gradient: Tensor | None, place: Tensor | None) -> Tensor | None:
    """Return the gradient, moved to its place if it has one."""
    return gradient if gradient is None or place is None else place.copy_(gradient)
