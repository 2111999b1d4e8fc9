"""Deep Transformers for fairseq: the B2T connection and the methods it is compared with.

This is a fairseq user directory: `fairseq-train DATA --user-dir b2t_fairseq --arch transformer_b2t_18_18 ...`.
"""

from . import patches
from .common.errors import UserError
from .version import __version__

patches.apply()  # before the models: what is registered next runs on the repaired fairseq

from . import connections, criterions, models, optim  # noqa: E402

__all__ = ["UserError", "__version__", "connections", "criterions", "models", "optim", "patches"]
