"""RMSNorm: gamma x / sqrt(mean(x^2) + eps), the mean over the channels of one position; no mean is taken away, no bias.

Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", arXiv 1910.07467. eps is LayerNorm's 1e-5 (our
decision; the authors' code has 1e-8). In half precision mean and root are computed in float32.
"""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """RMSNorm over the last dimension.

    Args:
        width: size of that dimension.
        eps: added to the mean of the squares.
    """

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        y = wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight
        return y.to(torch.promote_types(x.dtype, self.weight.dtype))  # under autocast float32, like LayerNorm's

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"
