"""`--arch` with a name that does not exist: say which are near, instead of listing hundreds."""

import argparse
import difflib
import functools
import re

from fairseq import options
from fairseq.models import ARCH_MODEL_REGISTRY


def known_architecture(name: str) -> str:
    """The argparse type of `--arch`."""
    if name in ARCH_MODEL_REGISTRY:
        return name
    near = difflib.get_close_matches(name, ARCH_MODEL_REGISTRY, n=3)
    hint = f"; near it are {', '.join(near)}" if near else ""
    depths = re.search(r"_(\d+)_(\d+)(_tiny)?$", name)
    if depths:
        hint += f"; for other depths add --encoder-layers {depths[1]} --decoder-layers {depths[2]} to one of them"
    raise argparse.ArgumentTypeError(f"'{name}' is no architecture{hint}")


def explain_unknown_architectures() -> None:
    """Give fairseq's `--arch` the type above; argparse checks it before the list of choices."""
    add_model_args = options.add_model_args
    if hasattr(add_model_args, "explains"):
        return

    @functools.wraps(add_model_args)
    def wrapper(parser):
        group = add_model_args(parser)
        for action in group._group_actions:
            if action.dest == "arch":
                action.type = known_architecture
        return group

    wrapper.explains = True
    options.add_model_args = wrapper


explain_unknown_architectures()
