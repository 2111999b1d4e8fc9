"""The signature of a model: which method, initialisation and depth, by which versions.

    connection:b2t|init:default|layers:18-18|plugin:0.1.0|fairseq:0.12.3

It stands in every log, in every checkpoint (`cfg.model.connection_signature`) and beside every score.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..common.errors import UserError
from ..version import __version__
from .arguments import model_argument

FIELDS_OF_THE_FUNCTION = ("connection", "layers")  # what a checkpoint's weights mean; the other fields are history


def make_signature(connection: str, options: Mapping[str, Any], init: str, layers: str) -> str:
    """Write a signature; options that are not at their default stand in brackets behind the connection's name."""
    import fairseq

    shown = "(" + ",".join(f"{k}={str(v).lower()}" for k, v in options.items()) + ")" if options else ""
    versions = f"plugin:{__version__}|fairseq:{fairseq.__version__}"
    return f"connection:{connection}{shown}|init:{init}|layers:{layers}|{versions}"


def parse_signature(signature: str) -> dict[str, str]:
    """Return the fields of a signature."""
    return dict(field.partition(":")[::2] for field in signature.split("|"))


def signature_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Return a loaded checkpoint's signature, derived for fairseq's own Transformer; None if it has none."""
    read = partial(model_argument, checkpoint)
    if (noted := read("connection_signature")) is not None:
        return noted
    depths = [str(depth) for side in ("encoder", "decoder") if (depth := read(f"{side}_layers")) is not None]
    if not depths or not str(read("arch") or read("_name") or "").startswith(("transformer", "s2t_transformer")):
        return None
    has_final_norm = bool(read("decoder_normalize_before")) and not read("no_decoder_final_norm")
    if read("residual_bottom_to_top") or read("no_layer_norm"):
        connection = _of_the_b2t_authors(read, has_final_norm)
        return f"connection:{connection}|layers:{'-'.join(depths)}|the B2T authors' own code"
    if read("dont_use_layernorm") or str(read("init_type") or "default") != "default":
        return None  # of the T-Fixup or Admin authors' own code: not Post-LN; `b2t-fairseq convert` knows what
    connection = "pre" if read("decoder_normalize_before") else "post"
    if connection == "pre" and not has_final_norm:
        connection += "(final_norm=false)"
    return f"connection:{connection}|layers:{'-'.join(depths)}|stock fairseq"


def _of_the_b2t_authors(read: Callable[[str], Any], has_final_norm: bool) -> str:
    """Return the connection of a checkpoint of their code, not converted; `interchange/incoming/b2t.py` has the rest.

    "none of ours" is what no connection here computes, and what is refused to be converted.
    """
    is_pre = bool(read("decoder_normalize_before"))
    is_mixed = read("encoder_layers") is not None and bool(read("encoder_normalize_before")) != is_pre
    if not read("no_layer_norm"):
        return "none of ours" if is_pre or is_mixed else "b2t"
    if is_mixed or (is_pre and not read("residual_bottom_to_top")):
        return "none of ours"
    if not read("residual_bottom_to_top"):
        return "tfixup"
    return "b2t_no_ln(final_norm=true)" if has_final_norm else "b2t_no_ln"


def layers_to_keep(args: Any) -> dict[str, list[int]]:
    """Return the layers that fairseq's pruning keeps (`--encoder-layers-to-keep 0,2,4`), by side; empty without it.

    Raises:
        UserError: something else than layer numbers.
    """
    kept = {}
    for side in ("encoder", "decoder"):
        if text := getattr(args, f"{side}_layers_to_keep", None):
            numbers = str(text).split(",")
            if not all(number.strip().isdecimal() for number in numbers):
                raise UserError(f"--{side}-layers-to-keep {text}: write layer numbers from 0 on, as in 0,2,4")
            kept[side] = sorted({int(number) for number in numbers})
    return kept


def after_pruning(signature: str | None, kept: Mapping[str, list[int]]) -> str | None:
    """Return a signature with the depths that fairseq's pruning leaves.

    Raises:
        UserError: a layer is to be kept that the model does not have.
    """
    if not signature or not kept:
        return signature
    depths = parse_signature(signature)["layers"].split("-")
    sides = ("encoder", "decoder") if len(depths) == 2 else ("decoder",)
    pruned = []
    for side, depth in zip(sides, depths, strict=True):
        if side in kept and kept[side][-1] >= int(depth):
            raise UserError(
                f"--{side}-layers-to-keep names layer {kept[side][-1]}; the checkpoint has layers 0 to {int(depth) - 1}"
            )
        pruned.append(str(len(kept[side])) if side in kept else depth)
    return signature.replace(f"|layers:{'-'.join(depths)}|", f"|layers:{'-'.join(pruned)}|")


def check_same_function(stored: str | None, expected: str | None, path: str) -> None:
    """Refuse weights that were trained as another function than they would be run as.

    Raises:
        UserError: connection or depth differ; names both signatures.
    """
    if not stored or not expected:
        return
    ours, theirs = parse_signature(expected), parse_signature(stored)
    if any(ours.get(field) != theirs.get(field) for field in FIELDS_OF_THE_FUNCTION):
        raise UserError(
            f"{path} holds another model: its signature is {stored}, this run's is {expected}; "
            "use the same --arch and options (--connection, --connection-options, --norm, --branch-warmup, "
            "--share-layers), or another --save-dir or --restore-file"
        )
