"""The T-Fixup authors' own code, a fork of fairseq 0.9: https://github.com/layer6ai-labs/T-Fixup.

`--dont-use-layernorm` is our connection `tfixup`; the norms of the cross-attention, which it still saves, are unused.
Without it the model is Post-LN or Pre-LN. The embeddings in the file are scaled already.
"""

from collections.abc import Mapping
from typing import Any

from .foreign import NOT_OURS, POSITIONS, Foreign, Translation, arguments

NAME = "the T-Fixup authors' own code"
THEIRS = ("dont_use_layernorm", "Tfixup")


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the file is this code's."""
    return any(name in arguments(checkpoint) for name in THEIRS)


def translate(foreign: Foreign) -> Translation:
    """Translate names and options.

    Raises:
        UserError: an option that has no counterpart.
    """
    foreign.refuse_options(NOT_OURS)
    has_no_norms, is_scaled = (bool(foreign.options.get(name)) for name in THEIRS)
    foreign.drop(POSITIONS)
    foreign.remove(*THEIRS)
    init = "tfixup" if is_scaled else "default"
    if has_no_norms:
        foreign.drop(r"decoder\.layers\.\d+\.encoder_attn_layer_norm\.(weight|bias)")
        foreign.options["layernorm_embedding"] = False  # theirs has none then, whatever its options say
        return Translation("tfixup", init)
    return Translation("pre" if foreign.normalize_before() else "post", init)
