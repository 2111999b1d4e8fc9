"""Attention, layer and stack, with stock fairseq's parameter names."""

from ..connections.config import CROSS_ATTENTION, FEED_FORWARD, SELF_ATTENTION, StackConfig
from .attention import MultiheadAttention
from .branch_warmup import BranchWarmup
from .cache import DecodingCache
from .layer import Branch, Context, TransformerLayer
from .masks import additive_mask
from .stack import Stack

__all__ = [
    "CROSS_ATTENTION",
    "FEED_FORWARD",
    "SELF_ATTENTION",
    "Branch",
    "BranchWarmup",
    "Context",
    "DecodingCache",
    "MultiheadAttention",
    "Stack",
    "StackConfig",
    "TransformerLayer",
    "additive_mask",
]
