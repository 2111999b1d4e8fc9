"""The ResiDual authors' own code, a fairseq plugin: https://github.com/microsoft/ResiDual.

The weights have our names already. The options are hydra's, nested (`model.encoder.layers`), and become flat ones.
"""

from collections.abc import Mapping
from typing import Any

from .foreign import NOT_OURS, Foreign, Translation

NAME = "the ResiDual authors' own code"
SCALES = ("enc_res_input_norm_scale", "dec_res_input_norm_scale")


def options_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's options as they are saved."""
    cfg = checkpoint.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else None
    return dict(model) if isinstance(model, Mapping) else {}


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the file is this code's."""
    return "resi_dual" in (options_of(checkpoint).get("_name"), options_of(checkpoint).get("arch"))


def translate(foreign: Foreign) -> Translation:
    """Translate names and options.

    Raises:
        UserError: an option that has no counterpart.
    """
    flatten(foreign)
    foreign.refuse_options(NOT_OURS)
    for name in ("enc_alpha", "dec_alpha"):
        value = foreign.options.pop(name, 1)
        if value != 1:
            raise foreign.refuse(f"it was trained with model.{name}={value}: in ours it is 1")
    for name in SCALES:
        value = foreign.options.pop(name, 1)
        if value != 1:
            if not (isinstance(value, int | float) and value > 0):
                raise foreign.refuse(f"it was trained with model.{name}={value}: in ours it is 1")
            foreign.notes.append(f"{name}={value} is left out: the final norm takes it out again, up to its epsilon")
    noise = foreign.options.get("quant_noise_pq") or foreign.options.get("quant_noise_scalar")
    if noise:
        foreign.notes.append(f"quantisation noise {noise} is left out: it changes the training only, and ours lacks it")
    foreign.remove("quant_noise_pq", "quant_noise_pq_block_size", "quant_noise_scalar")
    return Translation("resi_dual")


def flatten(foreign: Foreign) -> None:
    """Turn `encoder: {layers: 3}` into `encoder_layers: 3`.

    Raises:
        UserError: the options of a stack are missing.
    """
    for group in ("encoder", "decoder", "quant_noise"):
        nested = foreign.options.pop(group, {})
        if not isinstance(nested, Mapping):
            raise foreign.refuse(f"its options model.{group} are not names and values")
        foreign.options |= {f"{group}_{name}": value for name, value in nested.items() if name != "_name"}
