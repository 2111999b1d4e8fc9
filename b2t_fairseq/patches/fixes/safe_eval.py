"""Read options that are Python values as values, and run no code in them.

Without it: `--adam-betas`, `--adaptive-softmax-cutoff`, `conv_feature_layers` and some forty more are handed to
Python's `eval`. So is what a checkpoint, a recipe or a hydra file holds under these names: any of them can run code.
Versions: every fairseq so far.
Unnecessary: once fairseq calls `ast.literal_eval`, as it does in `fairseq_cli.generate`.

A module's own global comes before Python's builtin. So one `eval` in each of fairseq's modules covers all functions
in them, also those that others have imported by name. The commands' `--model-overrides` keep Python's: they are the
user's.
"""

import contextlib
import importlib
import sys

from ...common.literals import literal
from ..wrap import record

#: those of fairseq's modules with an `eval` that it imports later than its models and tasks
LATER = ("fairseq.data.audio.raw_audio_dataset", "fairseq.data.codedataset", "fairseq.optim.cpu_adam")


def apply() -> None:
    for name in LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq.") and hasattr(module, "__dict__"):
            vars(module)["eval"] = literal
    record(__name__, "eval in each of fairseq's modules")
