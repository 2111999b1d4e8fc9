"""Hooks that watch the layers of a stack during a forward and backward pass; they return nothing and steer nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..layers import Stack


def stacks_of(model: nn.Module) -> dict[str, Stack]:
    """Return the model's stacks by side, "encoder" first."""
    return {module.config.side: module for module in model.modules() if isinstance(module, Stack)}


@contextmanager
def layer_outputs(stack: Stack) -> Iterator[list[Tensor]]:
    """Within it, a forward pass fills the list with the layers' outputs (T, B, C), a backward pass their gradients."""
    outputs: list[Tensor] = []

    def keep(_layer, _inputs, stream) -> None:
        output = stack.connection.output(stream)
        if output.requires_grad:
            output.retain_grad()
        outputs.append(output)

    handles = [layer.register_forward_hook(keep) for layer in stack]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
