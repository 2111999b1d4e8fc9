"""Deep Transformers for fairseq: the B2T connection and the methods it is compared with.

This is a fairseq user directory: `fairseq-train DATA --user-dir b2t_fairseq --arch transformer_b2t_18_18 ...`.
"""

from .common.errors import UserError
from .common.quick import answers_without_fairseq
from .version import __version__

__all__ = ["UserError", "__version__"]

if not answers_without_fairseq():
    from . import patches

    patches.apply()  # before the models: what is registered next runs on the repaired fairseq

    from . import connections, criterions, models, optim

    __all__ += ["connections", "criterions", "models", "optim", "patches"]
