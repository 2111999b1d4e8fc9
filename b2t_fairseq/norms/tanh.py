"""DyT, Dynamic Tanh: gamma tanh(alpha x) + beta, alpha one learned number, 0.5 at first; no statistics.

Zhu et al. 2025, "Transformers without Normalization", arXiv 2503.10622. The authors set alpha at first by the model's
width and the place of the norm in large language models; here it is 0.5 everywhere (our decision).
"""

import torch
from torch import Tensor, nn


class DynamicTanh(nn.Module):
    """DyT over the last dimension.

    Args:
        width: size of that dimension.
        eps: unused; all kinds of norm are made alike.
    """

    def __init__(self, width: int, eps: float | None = None):
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.tanh(self.alpha * x) + self.bias

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"
