"""The DLCL authors' own code, a fork of fairseq 0.5: https://github.com/wangqiangneu/dlcl.

`encoder.history.weight` (L+1, L+1, 1) is our `encoder.layers.connection.weight`, and its norms of the layers k = 1…L
are our `history_norms.{k-1}`; the decoder's alike. An older state of that code counts the norms from 0 and has a weight
(L+1, L+1). Its files say no version, for which fairseq would take the final norm away.
"""

import re
from collections.abc import Mapping
from typing import Any

from .foreign import NOT_OURS, POSITIONS, Foreign, Translation, arguments, weight_names

NAME = "the DLCL authors' own code"
THEIRS = ("encoder_history_type", "decoder_history_type", "history_window_size", "history_dropout", "inspect_grad")
REFUSED = {
    **NOT_OURS,
    "normalize_learned_weight": "in ours the weights are as they are learned",
    "normalize_embed": "ours does not normalise the embedding",
    "include_sublayer": "ours combines layers, not sub-layers",
}
WITHOUT_EFFECT = (*THEIRS, "save_encoder_sa_memory", "encoder_learnable", "decoder_learnable", "init_value")


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the file is this code's."""
    options = arguments(checkpoint)
    if any(name in options for name in THEIRS) or "dlcl" in str(options.get("arch")):
        return True
    return any(re.match(r"(encoder|decoder)\.history\.", name) for name in weight_names(checkpoint))


def translate(foreign: Foreign) -> Translation:
    """Translate names and options.

    Raises:
        UserError: a combination of layers that ours is not.
    """
    check_options(foreign)
    is_pre = foreign.normalize_before()
    combines = {foreign.has(rf"{side}\.history\.weight") for side in foreign.sides}
    if len(combines) == 2:
        raise foreign.refuse("only one of encoder and decoder combines its layers: in ours both do")
    foreign.drop(POSITIONS)
    foreign.split_projections()
    if True in combines:
        for side in foreign.sides:
            translate_history(foreign, side)
    foreign.say_version()
    activation_dropout = foreign.options.pop("relu_dropout", None)
    if activation_dropout is not None and not foreign.options.get("activation_dropout"):
        foreign.options["activation_dropout"] = activation_dropout
    if foreign.options.get("history_dropout"):
        foreign.notes.append("--history-dropout is left out: it changes the training only, and ours lacks it")
    foreign.remove(*WITHOUT_EFFECT, *REFUSED, "weight_type")
    name = "pre" if is_pre else "post"
    return Translation(f"dlcl_{name}" if True in combines else name)


def check_options(foreign: Foreign) -> None:
    """Refuse what ours is not.

    Raises:
        UserError: names the option.
    """
    foreign.refuse_options(REFUSED)
    arch = str(foreign.options.get("arch"))
    if "simple_dlcl" in arch:
        raise foreign.refuse(f"--arch {arch}: its combination is another one than ours")
    for name, ours in (("weight_type", "scalar"), ("history_window_size", -1)):
        value = foreign.options.get(name, ours)
        if value != ours:
            raise foreign.refuse(f"it was trained with --{name.replace('_', '-')} {value}: in ours it is {ours}")
    for side in foreign.sides:
        kind = foreign.options.get(f"{side}_history_type")
        if kind not in (None, "learnable_dense"):
            raise foreign.refuse(f"it was trained with --{side}-history-type {kind}: ours is learnable_dense")


def translate_history(foreign: Foreign, side: str) -> None:
    """Rename the weights that combine a stack's layers, and the norms of its layers.

    Raises:
        UserError: they are not those of whole layers, one number each.
    """
    rows = foreign.depth(side) + 1
    name = f"{side}.history.weight"
    shape = tuple(getattr(foreign.weights[name], "shape", ()))
    if shape not in ((rows, rows, 1), (rows, rows)):
        shown = " x ".join(map(str, shape))
        raise foreign.refuse(f"{name} is {shown}: ours has one number for each of {rows} x {rows}")
    foreign.weights[name] = foreign.weights[name].reshape(rows, rows)
    norms = rf"{side}\.history\.layer_norms\."
    first = 1 if foreign.has(rf"{norms}{rows - 1}\..+") else 0
    if first and foreign.has(rf"{norms}0\..+"):
        raise foreign.refuse("--normalize-embed: ours does not normalise the embedding")
    ours = f"{side}.layers.connection"
    foreign.rename(re.escape(name), lambda _: f"{ours}.weight")
    foreign.rename(rf"{norms}(\d+)\.(.+)", lambda match: f"{ours}.history_norms.{int(match[1]) - first}.{match[2]}")
