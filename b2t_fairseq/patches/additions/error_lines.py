"""Show a mistake that the user can fix as one line, also in fairseq's own commands.

Without it: `fairseq-train` shows a `UserError` of ours under forty lines of traceback.
Versions: every fairseq and Python so far.

Our own commands (`b2t-fairseq`) do not need it. Python exits with status 1.
"""

import sys

from ...common.errors import explain, show
from ..wrap import wrap


def apply() -> None:
    wrap(sys, "excepthook", __name__, _make)


def _make(original):
    def excepthook(kind, error, traceback):
        line = explain(error)
        if line is None:
            original(kind, error, traceback)
        else:
            show(line, error)

    return excepthook
