"""Hide warnings that no user can act on.

Without it: every fairseq command starts with some 28 lines of warnings of hydra, torch and the data loader about how
fairseq calls them.
Versions: every fairseq so far, with hydra >= 1.1 or torch >= 2.0.
Unnecessary: once fairseq calls their current interfaces.

Only these messages are filtered. What comes before the plugin is imported cannot be: "Please install tensorboardX"
(install it), the hydra warnings of stock `fairseq-hydra-train`, and from torch 2.14 on, with `fairseq-train` and its
kin, "`torch.jit.script` is deprecated". `b2t-fairseq train` imports the plugin first and is quiet.
"""

import logging
import warnings

from ..wrap import record

MESSAGES = (
    r"hydra\.experimental\.(initialize|compose)\(\) is no longer experimental",
    r"\s*The version_base parameter is not specified",
    r"In '.+': Usage of deprecated keyword in package header",
    r"\s*'.+' is validated against ConfigStore schema",
    r"\s*The strict flag in the compose API is deprecated",
    r"'pin_memory' argument is set as true but no accelerator is found",
    r"`torch\.cuda\.amp\.\w+\(args\.\.\.\)` is deprecated",
    r"`broadcast_buffers` is deprecated",
    r"Support for mismatched key_padding_mask and attn_mask is deprecated",
)


def apply() -> None:
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("hydra").setLevel(logging.WARNING)  # pages of DEBUG lines about how it found its configuration
    record(__name__, f"{len(MESSAGES)} filters of Python's warnings")
    record(__name__, "the level of hydra's log")
