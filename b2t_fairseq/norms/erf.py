"""Derf: gamma erf(alpha x + s) + beta, alpha and s one learned number each, 0.5 and 0 at first; no statistics.

Chen et al. 2025, "Stronger Normalization-Free Transformers", arXiv 2512.10938.
"""

import torch
from torch import Tensor, nn

from .tanh import DynamicTanh


class DynamicErf(DynamicTanh):
    """Derf over the last dimension; its arguments are those of DyT."""

    def __init__(self, width: int, eps: float | None = None):
        super().__init__(width, eps)
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.erf(self.alpha * x + self.shift) + self.bias
