"""rescale: every weight matrix of a layer x L^-0.5; biases, norms and embeddings as they are.

From the B2T authors' released code (May 2023); not part of the paper's Table 1.
"""

import torch
from torch import nn


@torch.no_grad()
def rescale(stacks) -> None:
    for stack in stacks.present():
        for layer in stack.unique_layers():
            for module in layer.modules():
                if isinstance(module, nn.Linear):
                    module.weight.mul_(len(stack) ** -0.5)
