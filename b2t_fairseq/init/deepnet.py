"""deepnet: xavier_normal with gain beta on fc1, fc2, v_proj and out_proj, gain 1 on q_proj and k_proj; biases 0.

Wang et al. 2022, "DeepNet"; beta of each stack as in connections/deepnet.py.
"""

from torch import nn

from ..connections.deepnet import deepnet_constants
from .layerwise import projections


def deepnet(stacks) -> None:
    for stack in stacks.present():
        beta = deepnet_constants(stack.config).beta
        for layer in stack.unique_layers():
            for name, module in projections(layer):
                nn.init.xavier_normal_(module.weight, gain=1.0 if name in ("q", "k") else beta)
                nn.init.zeros_(module.bias)
