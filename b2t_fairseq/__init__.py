"""Deep Transformers for fairseq: the B2T connection and the methods it is compared with.

This is a fairseq user directory: `fairseq-train DATA --user-dir b2t_fairseq --arch transformer_b2t_18_18 ...`.
"""

from . import compat
from .errors import UserError, show_user_errors_as_one_line
from .version import __version__

compat.apply()  # before the models: what is registered next runs on the mended fairseq
show_user_errors_as_one_line()

from . import connections, criterions, models, optim  # noqa: E402
from .cpu_memory import keep_freed_memory  # noqa: E402
from .init.admin import profile_before_first_update  # noqa: E402
from .preemption import stop_on_sigterm  # noqa: E402
from .resume import check_checkpoints_on_resume  # noqa: E402

keep_freed_memory()
check_checkpoints_on_resume()
profile_before_first_update()
stop_on_sigterm()

__all__ = ["UserError", "__version__", "compat", "connections", "criterions", "models", "optim"]
