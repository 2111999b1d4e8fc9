"""tfixup: weights and embeddings shrink with depth, so that updates stay bounded without LN and without warm-up.

Huang et al. 2020, "Improving Transformer Optimization Through Better Initialization". On the stock initialisation, but
with xavier_uniform fc1 and fc2 and their biases 0; N encoder and M decoder layers:

    encoder    fc1, fc2, out_proj x 0.67 N^(-1/4);  v_proj x 0.67 N^(-1/4) sqrt(2);  embedding x (9N)^(-1/4)
    decoder    fc1, fc2, out_proj x (9M)^(-1/4);    v_proj x (9M)^(-1/4) sqrt(2);    embedding x (9M)^(-1/4)

An embedding that both share is scaled once, by N. A language model follows the decoder's rule (our decision).
"""

import math

import torch
from torch import nn

from .layerwise import projections


@torch.no_grad()
def tfixup(stacks) -> None:
    for stack in stacks.present():
        factor = 0.67 * len(stack) ** -0.25 if stack.config.side == "encoder" else (9 * len(stack)) ** -0.25
        for layer in stack.unique_layers():
            for name, module in projections(layer, "v out fc1 fc2"):
                if name.startswith("fc"):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)
                module.weight.mul_(factor * math.sqrt(2) if name == "v" else factor)
    scale_embeddings(stacks)


def scale_embeddings(stacks) -> None:
    """Each embedding matrix x (9 depth)^(-1/4), a shared one only as the source's."""
    scaled = set()
    for stack, embedding in ((stacks.encoder, stacks.source_embedding), (stacks.decoder, stacks.target_embedding)):
        tables = [] if embedding is None else [m for m in embedding.modules() if isinstance(m, nn.Embedding)]
        for table in tables:
            if table.weight not in scaled:
                table.weight.mul_((9 * len(stack)) ** -0.25)
                scaled.add(table.weight)
