"""Answer an unknown `--arch` with the names that are near it.

Without it: argparse prints the names of all architectures in fairseq, some 600 in one line.
Versions: every fairseq so far.
"""

import argparse
import difflib
import re

from fairseq import options
from fairseq.models import ARCH_MODEL_REGISTRY

from ..wrap import wrap


def apply() -> None:
    wrap(options, "add_model_args", __name__, _make)


def known_architecture(name: str) -> str:
    """Return `name` if there is such an architecture (the argparse type of `--arch`)."""
    if name in ARCH_MODEL_REGISTRY:
        return name
    near = difflib.get_close_matches(name, ARCH_MODEL_REGISTRY, n=3)
    hint = f"; near it are {', '.join(near)}" if near else ""
    depths = re.search(r"_(\d+)_(\d+)(_tiny)?$", name)
    if depths:
        hint += f"; for other depths add --encoder-layers {depths[1]} --decoder-layers {depths[2]} to one of them"
    raise argparse.ArgumentTypeError(f"'{name}' is not an architecture{hint}")


def _make(original):
    """Give `--arch` the type above; argparse checks it before the list of choices."""

    def add_model_args(parser):
        group = original(parser)
        for action in group._group_actions:
            if action.dest == "arch":
                action.type = known_architecture
        return group

    return add_model_args
