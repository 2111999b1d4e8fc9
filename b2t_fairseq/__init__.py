"""Deep Transformers for fairseq: the B2T connection and the methods it is compared with.

This is a fairseq user directory: `fairseq-train DATA --user-dir b2t_fairseq --arch transformer_b2t_18_18 ...`.
From Python, `b2t_fairseq.load("runs/…")` gives a trained model.
"""

from typing import Any

from .common.errors import UserError
from .common.late import late_imports
from .common.logs import quiet_imports, unchanged_logging
from .common.optional import check_fairseq
from .common.quick import answers_without_fairseq
from .version import __version__

__all__ = ["UserError", "__version__", "load"]

if not answers_without_fairseq():
    check_fairseq()  # before an import that fails without it
    with unchanged_logging(), late_imports():
        with quiet_imports():
            from . import patches  # and fairseq with them

        patches.apply()  # before the models: what is registered next runs on the repaired fairseq

        from . import connections, criterions, models, optim

    __all__ += ["connections", "criterions", "models", "optim", "patches"]


def load(source: Any, **options: Any) -> Any:
    """Load a trained model by its run's folder, its checkpoint or its bundle: see `interchange.trained.load`."""
    from .interchange import trained

    return trained.load(source, **options)
