"""Mistakes a user can mend, shown as one sentence."""

import sys


class UserError(ValueError):
    """A mistake the user can mend: shown as one sentence, without a traceback."""


def show_user_errors_as_one_line() -> None:
    """Let an uncaught `UserError` end the program with one line on stderr; every other exception keeps its traceback.

    fairseq's own commands (`fairseq-train`, ...) call us deep inside; this hook is how their users, too, see a sentence
    and not forty lines. Python exits with status 1 after it.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def hook(kind, error, traceback):
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    hook.shows_user_errors = True
    sys.excepthook = hook
