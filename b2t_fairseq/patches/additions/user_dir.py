"""Apply the patches of the process when a command of fairseq's names a `--user-dir`.

Without it: a process that has imported the package before, as a spawned worker has, would run fairseq's commands
without them: a user's mistake would show a traceback.
Versions: every fairseq so far.

The first import by `--user-dir` is known by other means (`patches/asked.py`).
"""

from fairseq import utils

from ..process import apply_to_process
from ..wrap import wrap


def apply() -> None:
    wrap(utils, "import_user_module", __name__, _make)


def _make(original):
    def import_user_module(args):
        if getattr(args, "user_dir", None) is not None:
            apply_to_process()
        return original(args)

    return import_user_module
