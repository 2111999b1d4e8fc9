"""Add `--connection-module`, which imports connections from a module of the user's own.

Without it: fairseq has no such option, and a module that registers connections would have to be a `--user-dir`.
Versions: every fairseq so far.

The module is imported before the command line is parsed, as fairseq does it for `--user-dir`, so that `--connection`
and `--arch` know its names. Every command takes the option, also those that load a checkpoint: the module that a
checkpoint names is never imported on the checkpoint's word, because a checkpoint from a stranger must not run code.
"""

import argparse

from fairseq import models, options

from ...connections import CONNECTIONS
from ...connections.own_module import import_connection_module
from ..wrap import wrap


def apply() -> None:
    wrap(options, "parse_args_and_arch", __name__, _make_parse)
    wrap(models, "build_model", __name__, _make_build)


def _make_parse(original):
    """Import the module before the option parser looks at the other options."""

    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        early.add_argument("--connection-module")
        options, rest = early.parse_known_args(input_args)
        if options.connection_module:
            from ...models.methods import MODULE, import_code  # not earlier: models are built on patched fairseq

            import_code(MODULE, options.connection_module)
            if "--max-update" not in parser._option_string_actions:
                input_args = rest  # a command that does not train has no options of the model's
        return original(parser, input_args, *args, **kwargs)

    return parse_args_and_arch


def _make_build(original):
    """Import a configuration's module before fairseq looks for the architecture.

    A checkpoint's module does not come here: `checkpoints/trust.py` has taken it out.
    """

    def build_model(cfg, *args, **kwargs):
        module, name = (getattr(cfg, key, None) for key in ("connection_module", "connection"))
        if module and name not in CONNECTIONS:
            import_connection_module(module)
        return original(cfg, *args, **kwargs)

    return build_model
