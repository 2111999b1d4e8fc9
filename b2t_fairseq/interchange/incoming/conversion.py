"""A loaded checkpoint of another code as one of ours, in memory."""

import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ...checkpoints.loading import load_checkpoint
from ...checkpoints.trust import check_bounds
from ...common.errors import UserError
from ...models.options import HELP, Plan
from . import b2t, residual
from .detect import source_of
from .foreign import SIZES, Foreign, Translation, arguments

logger = logging.getLogger(__name__)
INITS = ("rescale", "default")  # of which a B2T checkpoint does not say which was its own
#: options that the connection replaces, that are done with, or that would be ours: a file of another code has none
REPLACED = (
    *("encoder_normalize_before", "decoder_normalize_before", "encoder_layers_to_keep", "decoder_layers_to_keep"),
    *HELP,
    "vocabulary",
)


class Converted(NamedTuple):
    """A checkpoint of ours, and what it comes from.

    Attributes:
        checkpoint: as fairseq loads it, without an optimizer's state.
        source: what the code it comes from is called.
        signature: the model's.
        notes: what the user should know of the result.
    """

    checkpoint: dict[str, Any]
    source: str
    signature: str
    notes: list[str]


def convert(checkpoint: dict[str, Any], path: str | Path, init: str | None = None) -> Converted | None:
    """Translate a loaded checkpoint of another code; None if it is of none of them.

    Args:
        checkpoint: what was loaded; it stays as it is.
        path: its file, for messages.
        init: one of `INITS`: how a B2T model was initialised.

    Raises:
        UserError: it cannot become one of ours; names the option.
    """
    source = source_of(checkpoint)
    if source is None:
        return None
    options = residual.options_of(checkpoint) if source is residual else arguments(checkpoint)
    foreign = Foreign(str(path), options, checkpoint["model"], init)
    if not options:
        raise foreign.refuse("it holds no options (args), and without them its method is unknown")
    if "align" in str(foreign.options.get("arch")):
        raise foreign.refuse(f"--arch {foreign.options['arch']}: our models are not trained on alignments")
    check_init(foreign, source)
    translation = source.translate(foreign)
    if source is not residual:  # the others are forks of fairseq before 0.10
        foreign.translate_smoothing()
    foreign.check_names()
    signature = sign(foreign, translation)
    converted = {**checkpoint, "model": foreign.weights, "last_optimizer_state": None}
    if source is residual:
        converted["cfg"] = {**checkpoint["cfg"], "model": {**foreign.options, "_name": foreign.options["arch"]}}
    else:
        converted["args"] = Namespace(**foreign.options)
    return Converted(converted, source.NAME, signature, foreign.notes)


def check_init(foreign: Foreign, source: ModuleType) -> None:
    """Refuse `--init` where the file says how the model was initialised.

    Raises:
        UserError: it does.
    """
    if foreign.init and not (source is b2t and foreign.options.get("residual_bottom_to_top")):
        raise UserError(f"--init {foreign.init}: {foreign.path} is not a B2T model (no --residual-bottom-to-top in it)")


def sign(foreign: Foreign, translation: Translation) -> str:
    """Write what the model is into its options, and return its signature.

    Raises:
        UserError: an option that does not go with our layers.
    """
    sides = foreign.sides
    sizes = {side: [foreign.size(side, name) for name in SIZES] for side in sides}
    foreign.remove(*REPLACED)
    name = "transformer_b2t" if "encoder" in sides else "transformer_lm_b2t"
    foreign.options |= {
        "arch": name,
        "connection": translation.connection,
        "connection_init": translation.init,
        "connection_options": translation.options,
    }
    try:
        plan = Plan.from_args(Namespace(**foreign.options))
    except UserError as error:
        raise foreign.refuse(str(error)) from None
    drops_norm = plan.connection.final_norm_is_optional and bool(foreign.options.get("no_decoder_final_norm"))
    signature = plan.signature("-".join(str(depth) for depth, *_ in sizes.values()), drops_norm)
    foreign.options["connection_signature"] = signature
    return signature


def read(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint to look at; one of another code becomes one of ours, and the log says so.

    Raises:
        UserError: it cannot be loaded, or not be converted.
    """
    return in_memory(load_checkpoint(path), path)


def in_memory(checkpoint: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return a loaded checkpoint, or, if it is of another code, what it is as one of ours; then the log says so.

    Raises:
        UserError: it cannot be converted.
    """
    if source_of(checkpoint) is None:
        return checkpoint
    check_bounds(checkpoint, str(path))
    converted = convert(checkpoint, path)
    if converted is None:
        return checkpoint
    notes = "".join(f"; {note}" for note in converted.notes)
    logger.info(f"{path}: of {converted.source}, converted in memory: {converted.signature}{notes}")
    return converted.checkpoint


def refuse_to_train(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Refuse to train from a checkpoint of another code.

    Raises:
        UserError: says how it is converted.
    """
    source = source_of(checkpoint)
    if source is not None:
        raise UserError(
            f"{path} is a checkpoint of {source.NAME}: b2t-fairseq convert {path} OUT makes one of ours, to train from"
        )
