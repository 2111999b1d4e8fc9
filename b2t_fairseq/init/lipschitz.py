"""lipschitz: weight matrices of the layers U(-1/sqrt(fan_in), 1/sqrt(fan_in)), their biases 0; smaller embeddings.

Xu et al. 2020, "Lipschitz Constrained Parameter Initialization for Deep Transformers". Embeddings are xavier_uniform
with gain 1/sqrt(3), padding 0; so are the tables of an adaptive input, whose projections stay as they are (our
decision), as do norms and learned positions.
"""

import torch
from torch import nn

from .layerwise import projections


@torch.no_grad()
def lipschitz(stacks) -> None:
    for stack in stacks.present():
        for layer in stack.unique_layers():
            for _, module in projections(layer):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)
    for embedding in (stacks.source_embedding, stacks.target_embedding):
        for table in [] if embedding is None else embedding.modules():
            if isinstance(table, nn.Embedding):
                nn.init.xavier_uniform_(table.weight, gain=3**-0.5)
                if table.padding_idx is not None:
                    table.weight[table.padding_idx].zero_()
