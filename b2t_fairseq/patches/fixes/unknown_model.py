"""Name the unknown architecture of a checkpoint or configuration.

Without it: `IndexError: Replacement index 1 out of range for positional args tuple`, because fairseq formats its
message twice.
Versions: git main, fairseq-fixed 0.12.3.1, ve-fairseq 0.12.3, PyPI 0.12.2; any torch.
Unnecessary: once `fairseq.models.build_model` formats its message once.

Without `--user-dir` the plugin is not loaded and cannot help: then the IndexError means that `--user-dir` is missing.
"""

from fairseq import models

from ...common.errors import UserError
from ..wrap import wrap


def apply() -> None:
    wrap(models, "build_model", __name__, _make)


def _make(original):
    def build_model(cfg, *args, **kwargs):
        name = getattr(cfg, "_name", None) or getattr(cfg, "arch", None)
        if name and name not in models.ARCH_MODEL_REGISTRY and name not in models.MODEL_DATACLASS_REGISTRY:
            raise UserError(
                f"Unknown model architecture '{name}': it belongs to another plugin (give its --user-dir) "
                "or to another version of this one."
            )
        return original(cfg, *args, **kwargs)

    return build_model
