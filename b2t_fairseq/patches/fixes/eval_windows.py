"""Refuse windows with which `fairseq-eval-lm` cannot score all of the text.

Without it: a `--context-window` that leaves nothing of `--tokens-per-sample` ends in a `ZeroDivisionError`, and
windows that are longer than the model's positions are left out without a word. The default window is 1,024 whatever the
model was trained with; if that is too long, only the last remainder of the text is scored, and the perplexity is that
of a few tokens, or 1.00 of none.
Versions: every fairseq so far; any torch.
Unnecessary: once eval-lm checks its windows.
"""

import inspect

from fairseq.tasks.language_modeling import LanguageModelingTask

from ...common.errors import UserError
from ..wrap import wrap


def apply() -> None:
    wrap(LanguageModelingTask, "load_dataset", __name__, _make_load_dataset)
    wrap(LanguageModelingTask, "eval_lm_dataloader", __name__, _make_dataloader)


def _make_load_dataset(original):
    def load_dataset(self, *args, **kwargs):
        window = self.args.tokens_per_sample  # eval-lm has subtracted the context
        if _cuts_windows(self) and window is not None and window < 1:
            raise UserError(
                f"--tokens-per-sample less --context-window is {window}, so that nothing is left to score in a window: "
                "make the first larger or the second smaller"
            )
        return original(self, *args, **kwargs)

    return load_dataset


def _make_dataloader(original):
    signature = inspect.signature(original)

    def eval_lm_dataloader(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs).arguments
        positions, context = given.get("max_positions"), given.get("context_window", 0)
        window, longest = self.args.tokens_per_sample, max(given["dataset"].sizes, default=0)
        if _cuts_windows(self) and None not in (positions, window) and min(window, longest) > positions:
            raise UserError(
                f"--tokens-per-sample {window + context} does not fit the model, which has {positions} positions, and "
                f"text would be left out: use --tokens-per-sample {positions} or less"
            )
        batches = original(self, *args, **kwargs)
        if len(batches) == 0:
            raise UserError(
                f"nothing to score: the text has no line that fits the model's {positions} positions; "
                "use --sample-break-mode none, which cuts it into windows"
            )
        return batches

    return eval_lm_dataloader


def _cuts_windows(task: LanguageModelingTask) -> bool:
    """Return whether the text is cut by length; with `--sample-break-mode eos` a sample is a line, however long."""
    return str(getattr(task.args, "sample_break_mode", None)) != "eos"
