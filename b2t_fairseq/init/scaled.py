"""scaled: out_proj of both attentions and fc2 x S^-0.5 on the stock initialisation, S the stack's sub-layers.

Radford et al. 2019 (GPT-2), Shoeybi et al. 2019 (Megatron-LM): what a sub-layer adds to the residual shrinks with their
number. S = 2L; in a decoder with cross-attention 3L (our decision; theirs are single stacks).
"""

import logging

import torch

from .layerwise import projections

logger = logging.getLogger(__name__)


@torch.no_grad()
def scaled(stacks) -> None:
    for stack in stacks.present():
        sublayers = len(stack) * len(stack.config.kinds)
        for layer in stack.unique_layers():
            for _, module in projections(layer, "out fc2"):
                module.weight.mul_(sublayers**-0.5)
    if any(stack.connection.name == "ln_scaling" for stack in stacks.present()):
        logger.warning(
            "--connection-init scaled makes ln_scaling worse: published perplexity 20.79 with it, 20.35 without "
            "(Sun et al. 2025, 250M parameters); use --connection-init auto"
        )
