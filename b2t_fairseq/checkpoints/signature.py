"""The signature of a model: which method, initialisation and depth, by which versions.

    connection:b2t|init:default|layers:18-18|plugin:0.1.0|fairseq:0.12.3

It stands in every log, in every checkpoint (`cfg.model.connection_signature`) and beside every score.
"""

from collections.abc import Mapping
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
    """The fields of a signature."""
    return dict(field.partition(":")[::2] for field in signature.split("|"))


def signature_of(checkpoint: Mapping[str, Any]) -> str | None:
    """The signature in a loaded checkpoint; a stock fairseq Transformer's is derived; None if it has none."""
    read = partial(model_argument, checkpoint)
    if (noted := read("connection_signature")) is not None:
        return noted
    depths = [str(depth) for side in ("encoder", "decoder") if (depth := read(f"{side}_layers")) is not None]
    if not depths or not str(read("arch") or read("_name") or "").startswith(("transformer", "s2t_transformer")):
        return None
    connection = "pre" if read("decoder_normalize_before") else "post"
    if connection == "pre" and read("no_decoder_final_norm"):
        connection += "(final_norm=false)"
    return f"connection:{connection}|layers:{'-'.join(depths)}|stock fairseq"


def check_same_function(found: str | None, expected: str | None, path: str) -> None:
    """Refuse weights that were trained as another function than they would be run as.

    Raises:
        UserError: connection or depth differ; names both signatures.
    """
    if not found or not expected:
        return
    ours, theirs = parse_signature(expected), parse_signature(found)
    if any(ours.get(field) != theirs.get(field) for field in FIELDS_OF_THE_FUNCTION):
        raise UserError(
            f"{path} holds another model: its signature is {found}, this run's is {expected}; "
            "use the same --arch, --connection and --connection-options, or another --save-dir or --restore-file"
        )
