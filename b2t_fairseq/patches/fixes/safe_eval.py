"""Read options that are Python values as values, and run no code in them.

Without it: `--adam-betas`, `--adaptive-softmax-cutoff`, `conv_feature_layers` and some forty more are handed to
Python's `eval`. So is what a checkpoint, a recipe or a hydra file holds under these names: any of them can run code.
Versions: every fairseq so far.
Unnecessary: once fairseq calls `ast.literal_eval`, as it does in `fairseq_cli.generate`.

A module's own global comes before Python's builtin. So one `eval` in each of fairseq's modules covers all functions
in them, also those that others have imported by name. `--model-overrides`, which validate and eval-lm evaluate, is read
the same way: it can come from a recipe or a script of a stranger's.
"""

import contextlib
import importlib
import sys

from fairseq import options

from ...common.literals import literal
from ..wrap import record, wrap

#: those of fairseq's modules with an `eval` that it imports later than its models and tasks
LATER = ("fairseq.data.audio.raw_audio_dataset", "fairseq.data.codedataset", "fairseq.optim.cpu_adam")


def apply() -> None:
    for name in LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    replace_eval("fairseq.")
    record(__name__, "eval in each of fairseq's modules")
    wrap(options, "parse_args_and_arch", __name__, _make_parse)


def replace_eval(prefix: str) -> None:
    """Give every module that is loaded under these names an `eval` that runs no code."""
    for name, module in list(sys.modules.items()):
        if name.startswith(prefix) and hasattr(module, "__dict__"):
            vars(module)["eval"] = literal


def _make_parse(original):
    def parse_args_and_arch(*args, **kwargs):
        replace_eval("fairseq_cli.")  # the command's own module is loaded by now
        return original(*args, **kwargs)

    return parse_args_and_arch
