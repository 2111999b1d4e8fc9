"""The former name of `patches`, for scripts that load checkpoints: `from b2t_fairseq.compat import load_checkpoint`."""

from ..checkpoints.loading import UnsafeCheckpointError, load_checkpoint
from ..patches import apply

__all__ = ["UnsafeCheckpointError", "apply", "load_checkpoint"]
