"""Derf: gamma erf(alpha x + s) + beta, alpha and s one learned number each, 0.5 and 0 at first; no statistics.

Chen et al. 2025, "Stronger Normalization-Free Transformers", arXiv 2512.10938.
"""

import torch
from torch import Tensor, nn


class DynamicErf(nn.Module):
    """Derf over the last dimension.

    Args:
        width: size of that dimension.
        eps: unused; all kinds of norm are made alike.
    """

    def __init__(self, width: int, eps: float | None = None):
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.shift = nn.Parameter(torch.zeros(1))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.erf(self.alpha * x + self.shift) + self.bias

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"
