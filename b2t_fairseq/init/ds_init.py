"""ds_init, depth-scaled initialisation: every weight matrix of layer l xavier_uniform x 1/sqrt(l); biases as they are.

Zhang et al. 2019, "Improving Deep Transformer with Depth-Scaled Initialization and Merged Attention".
"""

from torch import nn

from .layerwise import projections


def ds_init(stacks) -> None:
    for stack in stacks.present():
        for layer in stack.unique_layers():
            for _, module in projections(layer):
                nn.init.xavier_uniform_(module.weight, gain=layer.number**-0.5)
