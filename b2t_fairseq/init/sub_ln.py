"""sub_ln: fc1, fc2, v_proj and out_proj x gamma on the stock initialisation, cross-attention left alone.

Wang et al. 2022, "Foundation Transformers" (Magneto). N encoder and M decoder layers:

    encoder      gamma = sqrt(ln(3M) ln(2N) / 3)
    decoder      gamma = sqrt(ln(3M))
    one stack    gamma = sqrt(ln(2L))              (a language model of L layers)
"""

import math

import torch

from ..layers import CROSS_ATTENTION, StackConfig
from .layerwise import projections


def sub_ln_gamma(config: StackConfig) -> float:
    """gamma of one stack."""
    if config.other_depth is None:
        return math.sqrt(math.log(2 * config.depth))
    if config.side == "encoder":
        return math.sqrt(math.log(3 * config.other_depth) * math.log(2 * config.depth) / 3)
    return math.sqrt(math.log(3 * config.depth))


@torch.no_grad()
def sub_ln(stacks) -> None:
    for stack in stacks.present():
        gamma = sub_ln_gamma(stack.config)
        for layer in stack.unique_layers():
            for _, module in projections(layer, "v out fc1 fc2", skip=(CROSS_ATTENTION,)):
                module.weight.mul_(gamma)
