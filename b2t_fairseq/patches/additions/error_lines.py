"""A mistake the user can fix ends fairseq's own commands with one line, too.

Without it: `fairseq-train ... --user-dir b2t_fairseq` shows a `UserError` of ours under forty lines of traceback.
Versions: every fairseq and Python so far. Our own commands (`b2t-fairseq`) do not need it. Python exits with status 1.
"""

import sys

from ...common.errors import explain
from ..wrap import wrap


def apply() -> None:
    wrap(sys, "excepthook", __name__, _make)


def _make(original):
    def excepthook(kind, error, traceback):
        line = explain(error)
        if line is None:
            original(kind, error, traceback)
        else:
            print(f"error: {line}", file=sys.stderr)

    return excepthook
