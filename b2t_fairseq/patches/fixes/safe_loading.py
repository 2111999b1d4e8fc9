"""Load checkpoints with torch's safe unpickler.

Without it: torch >= 2.6 unpickles with `weights_only=True` by default and refuses every fairseq checkpoint, first for
`argparse.Namespace`. Resuming, generation, validation, averaging and the rank-0 broadcast of a multi-process resume all
die.
Versions: every fairseq so far, with torch >= 2.6. With torch 2.4 and 2.5 the list only serves `load_checkpoint`.
Unnecessary: once fairseq's checkpoints hold tensors and plain containers only.

`checkpoints/loading.py` holds the list.
"""

import pickle
from pathlib import Path

from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils

from ...checkpoints.loading import HAS_ALLOW_LIST, allow_listed, refusal
from ..wrap import record, wrap


def apply() -> str | None:
    if not HAS_ALLOW_LIST:
        return "this torch has no list of safe classes"
    allow_listed()
    record(__name__, "torch's list of safe classes")
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", __name__, _explain)
    wrap(checkpoint_utils, "load_ema_from_checkpoint", __name__, _explain)
    wrap(distributed_utils, "_broadcast_object_slow", __name__, _explain)
    return None


def _explain(original):
    """Wrap a function of fairseq that loads, so that a refusal says what to do."""

    def load(source, *args, **kwargs):
        try:
            return original(source, *args, **kwargs)
        except pickle.UnpicklingError as error:
            name = source if isinstance(source, (str, Path)) else "the checkpoint sent by rank 0"
            raise refusal(name, error) from None

    return load
