"""The Admin authors' own code, a fork of fairseq 0.8: https://github.com/LiyuanLucasLiu/Transformer-Clinic.

A layer's `…_ratio_change`, one for each sub-layer, are our `encoder.layers.connection.omega.{2l}`, `{2l+1}` and
`decoder.layers.connection.omega.{3l}`, `{3l+1}`, `{3l+2}`. They are saved: the profile file is not needed.
"""

import re
from collections.abc import Mapping
from typing import Any

from .foreign import NOT_OURS, POSITIONS, Foreign, Translation, arguments, weight_names

NAME = "the Admin authors' own code"
RATIO = "_ratio_change"
RATIOS = {"encoder": ("attention", "fc"), "decoder": ("self", "encoder", "fc")}
WITHOUT_EFFECT = ("init_type", "mixed_precision", "plot_variance", "plot_gradient", "plot_stability")


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the file is this code's."""
    is_named = "init_type" in arguments(checkpoint)
    return is_named or any(name.endswith(RATIO) for name in weight_names(checkpoint))


def translate(foreign: Foreign) -> Translation:
    """Translate names and options.

    Raises:
        UserError: `--init-type` is none of ours, or the options are Pre-LN's.
    """
    foreign.refuse_options(NOT_OURS)
    translation = find_connection(foreign)
    if translation.connection == "admin":
        for side in foreign.sides:
            translate_ratios(foreign, side)
    foreign.drop(POSITIONS)
    foreign.split_projections()
    foreign.remove(*WITHOUT_EFFECT)
    return translation


def find_connection(foreign: Foreign) -> Translation:
    """Return which connection `--init-type` is.

    Raises:
        UserError: none of ours.
    """
    kind = str(foreign.options.get("init_type", "default"))
    has_ratios = foreign.has(rf".+{RATIO}")
    is_pre = foreign.normalize_before()
    if kind.startswith("adaptive"):
        if is_pre:
            raise foreign.refuse(f"--init-type {kind} with --…-normalize-before: Admin is Post-LN")
        return Translation("admin", "admin")
    if has_ratios:
        raise foreign.refuse(f"it holds {RATIO[1:]} weights, but --init-type is {kind} and not adaptive")
    if kind == "default":
        return Translation("pre" if is_pre else "post")
    if kind == "deepnet" and not is_pre:
        return Translation("deepnet", "deepnet")
    raise foreign.refuse(f"--init-type {kind}{' with Pre-LN' if is_pre else ''}: none of our connections is that")


def translate_ratios(foreign: Foreign, side: str) -> None:
    """Rename omega, layer by layer.

    Raises:
        UserError: there are not as many as the layers need.
    """
    kinds, depth = RATIOS[side], foreign.depth(side)
    names = rf"{side}\.layers\.(\d+)\.({'|'.join(kinds)}){RATIO}"
    found = sum(re.fullmatch(names, name) is not None for name in foreign.weights)
    if found != depth * len(kinds):
        raise foreign.refuse(f"it holds {found} {RATIO[1:]} weights of the {side}, which has {depth} layers")
    ours = f"{side}.layers.connection.omega"
    foreign.rename(names, lambda match: f"{ours}.{int(match[1]) * len(kinds) + kinds.index(match[2])}")
