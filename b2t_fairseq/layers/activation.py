"""The activation between a feed-forward sub-layer's two products."""

from collections.abc import Callable

import torch
from fairseq import utils
from torch import Tensor


def relu(x: Tensor) -> Tensor:
    """In place where no graph is built; with one, autograd would copy the gradient of what is in place."""
    return torch.relu(x) if torch.is_grad_enabled() else torch.relu_(x)


def activation_fn(name: str) -> Callable[[Tensor], Tensor]:
    """fairseq's activation of that name; what it is given is not used again."""
    return relu if name == "relu" else utils.get_activation_fn(name)
