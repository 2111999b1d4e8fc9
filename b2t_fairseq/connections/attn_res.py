"""Attention Residuals: x <- F(LN(h)), h = sum_i softmax_i(w . RMS(v_i)) v_i over earlier blocks; LN of a last such sum.

Kimi Team 2026, "Attention Residuals" (arXiv 2603.15031), the block form. The sources v_i are the embedding, the outputs
of earlier blocks (an output is the sum of the block's branches), and the running sum of this block's branches, once it
has one. Keys are RMS-normed with a gain, values are raw. Each sub-layer has its own w and gain, and so has the last
sum, but not the first sub-layer, whose only source is the embedding. At first w = 0: h is the mean of the sources, that
is, the stream of `pre` divided by their number. Behind an LN this is what `pre` computes, but for eps.

Our decisions: the embedding is a source once (the text read literally has it twice); a block is a run of whole layers,
their cross-attention included; a stack has `blocks` blocks whose sizes differ by at most one layer, or one a layer if
it has fewer layers; eps of RMS is 1e-5. A layer's output, as others see it, is the sum of all sources, as in `pre`.
fairseq's Adam decays w and gains like all parameters if weight decay is on.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from .base import Connection, Option
from .hyper import mixed
from .registry import register_connection


class BlockStream(NamedTuple):
    """The embedding and the outputs of finished blocks (T, B, K, C); the sum of this block's branches (T, B, C)."""

    blocks: Tensor
    running: Tensor | None = None


class DepthAttention(nn.Module):
    """One w and its gain: makes one tensor (T, B, C) of the stream's sources."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, stream: BlockStream) -> Tensor:
        sources = [stream.blocks] if stream.running is None else [stream.blocks, stream.running.unsqueeze(-2)]
        weights = torch.cat([self.scores(v) for v in sources], -1).softmax(-1)
        parts = weights.unsqueeze(-2).split([v.size(-2) for v in sources], -1)
        mixtures = [mixed(part, v).squeeze(-2) for part, v in zip(parts, sources, strict=True)]
        return mixtures[0] if len(mixtures) == 1 else mixtures[0] + mixtures[1]

    def scores(self, v: Tensor) -> Tensor:
        """Return w . RMS(v), (T, B, K, C) -> (T, B, K), in float32 at least."""
        at_least = torch.promote_types(v.dtype, torch.float32)
        length = torch.linalg.vector_norm(v, dim=-1, dtype=at_least)
        return (v @ (self.gain * self.query)).to(at_least) * (length.square() / v.size(-1) + 1e-5).rsqrt()


@register_connection("attn_res")
class AttentionResiduals(Connection):
    has_final_norm = True
    needs_all_layers = True  # a dropped layer would shift the blocks' boundaries
    branch_can_warm_up = False  # a mixture of sources: one that is scaled changes the share of all others
    can_be_pruned = False
    has_parameters_per_layer = True
    norm_reads_sum = False
    options = {"blocks": Option(8, "number of blocks a stack is divided into")}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        if options["blocks"] < 1:
            raise UserError(f"--connection-options: blocks={options['blocks']} must be at least 1")
        self.blocks = min(options["blocks"], config.depth)
        sublayers = config.depth * len(config.kinds)
        self.attention = nn.ModuleList(
            DepthAttention(config.width) for _ in range(sublayers)
        )  # [k] follows sub-layer k

    def block_of(self, l: int) -> int:
        """Return the number 0, 1, ... of layer l's block."""
        return (l - 1) * self.blocks // self.config.depth

    def open(self, x):
        return BlockStream(x.unsqueeze(-2))

    def enter_layer(self, stream, l):
        if l == 1 or self.block_of(l) == self.block_of(l - 1):
            return stream
        return BlockStream(torch.cat([stream.blocks, stream.running.unsqueeze(-2)], -2))

    def sublayer(self, stream, l, j, branch, norms):
        (norm,) = norms
        k = (l - 1) * len(self.config.kinds) + j
        f = branch(norm(self.attention[k - 1](stream) if k else stream.blocks.squeeze(-2)))
        return stream._replace(running=f if stream.running is None else stream.running + f)

    def close(self, stream, final_norm):
        return super().close(self.attention[-1](stream), final_norm)

    def output(self, stream):
        total = stream.blocks.sum(-2)
        return total if stream.running is None else total + stream.running
