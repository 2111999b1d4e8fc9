"""GPAS, an option of six connections: x - silu(g) stopgrad(x), one learned g per layer, 0 at first.

Chen et al. 2025, "GPAS: Accelerating Convergence of LLM Pretraining via Gradient-Preserving Activation Scaling" (arXiv
2506.22049): activations become smaller, the gradient passes as if they had not. As in the authors' code a layer has one
gate for all of its sub-layers; it acts on the sum after a sub-layer or, where a norm reads the sum (Post-LN, DeepNet,
B2T), on the residual x before it. In B2T the layer's input b, which skips the norms, is not scaled (our decision). The
authors clip the gates' gradients at 0.01; we leave that to `--clip-norm`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Connection, Option


class Gated(Connection):
    """A connection with the option `gpas`; a method derived from it that defines options of its own has no gates."""

    options = {"gpas": Option(False, "GPAS: scale activations by a learned gate per layer, but not their gradients")}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.gate = nn.Parameter(torch.zeros(config.depth)) if options.get("gpas") else None
        if self.gate is not None:
            self.can_be_pruned, self.has_parameters_per_layer = False, True

    def scaled(self, x: Tensor, l: int) -> Tensor:
        """Return x (T, B, C) as the gate of layer l = 1...L leaves it; x itself without the option."""
        return x if self.gate is None else x - F.silu(self.gate[l - 1]).to(x.dtype) * x.detach()
