"""End a training whose loss or gradients become NaN or infinite with a one-line error.

Without it: fairseq trains on with a loss of NaN, or ends with a traceback in which the cause is often missing.
Versions: every fairseq so far.
"""

import math

from fairseq.trainer import Trainer

from ...common.errors import UserError
from ..wrap import wrap


def apply() -> None:
    wrap(Trainer, "train_step", __name__, _make)


def _make(original):
    def train_step(self, *args, **kwargs):
        try:
            logged = original(self, *args, **kwargs)
        except Exception as error:
            number_error = floating_point_error(error)
            if number_error is None:
                raise
            # fp16's "Minimum loss scale reached …" already says what happened and what to do
            why = str(number_error) if "loss scale" in str(number_error) else "its gradients became NaN or infinite"
            raise UserError(explanation(self.get_num_updates(), why)) from error
        loss = (logged or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise UserError(explanation(self.get_num_updates(), f"its loss became {float(loss)}"))
        return logged

    return train_step


def floating_point_error(error: BaseException | None) -> FloatingPointError | None:
    """Return the `FloatingPointError` that an exception is or came after.

    fairseq runs the batch again to find where NaN began. That search fails on a current torch (StopIteration in a
    backward hook), so the exception that arrives is often not the one that matters.
    """
    while error is not None and not isinstance(error, FloatingPointError):
        error = error.__context__
    return error


def explanation(updates: int, why: str) -> str:
    """Return the one line that ends a training which cannot recover."""
    return (
        f"training failed: the model diverged after {updates} updates: {why.rstrip('.')} (FloatingPointError); "
        "try a lower --lr, a longer --warmup-updates or another --connection"
    )
