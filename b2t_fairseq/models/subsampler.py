"""fairseq's convolutional subsamplers, such that an utterance's encoding does not depend on what it is batched with.

Between two convolutions fairseq leaves in the padded frames what the first made of them, and the second reads it at an
utterance's end. Here padded frames are zero before every convolution, as beyond the end of an utterance that is alone.
"""

from typing import Any

import torch
from torch import Tensor, nn


def masked_subsample(subsampler: Any, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Subsample filter banks (B, frames, features), padded on the right.

    Args:
        subsampler: fairseq's `Conv1dSubsampler` or `Conv2dSubsampler`. Neither can be imported by one name from all
            fairseqs: 0.12.2 has the first elsewhere, and no second.
        x: the filter banks.
        lengths: (B,) frames of each utterance.

    Returns:
        (T, B, C), and the lengths (B,) in its time steps.
    """
    if hasattr(subsampler, "conv_layers"):  # one-dimensional
        x = x.transpose(1, 2)  # (B, features, frames)
        for convolution in subsampler.conv_layers:
            x = nn.functional.glu(convolution(zero_beyond(x, lengths)), dim=1)
            lengths = halved(lengths)
        return x.permute(2, 0, 1).contiguous(), lengths
    x = x.unsqueeze(1)  # (B, 1, frames, features)
    for layer in subsampler.conv:
        if isinstance(layer, nn.Conv2d):
            x, lengths = layer(zero_beyond(x, lengths)), halved(lengths)
        else:
            x = layer(x)
    return subsampler.out(x.permute(2, 0, 1, 3).flatten(2)), lengths


def zero_beyond(x: Tensor, lengths: Tensor) -> Tensor:
    """Zero what lies beyond each utterance's end in (B, channels, time, ...)."""
    beyond = torch.arange(x.size(2), device=x.device) >= lengths.unsqueeze(1)  # (B, time)
    return x.masked_fill(beyond.view(len(x), 1, -1, *[1] * (x.dim() - 3)), 0.0)


def halved(lengths: Tensor) -> Tensor:
    """Return the lengths after a convolution of stride 2 whose padding keeps the ends."""
    return (lengths - 1).div(2, rounding_mode="floor") + 1
