"""What the quickstart asks of a task; everything else (processes, resuming, averaging, tables, figures) it does itself.

    corpus -> prepare(folder) -> preprocess(folder) -> train -> average -> evaluate(each test set) -> score -> a row

A task is one class in one file, listed in ``tasks/__init__.py``. It is made from the parsed command line, reads and
checks the user's corpus at once (mistakes are a `UserError` before anything is written), and writes only in `prepare`;
what comes after `prepare` reads from its folder.
"""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ...evaluation.score import Score

#: reads new lines of a command's output; returns how much is done (None: nothing new) and a remark for the display
Counter = Callable[[Iterable[str]], tuple[int | None, str]]


class Task(ABC):
    """A corpus, and the commands and scores that go with it.

    Attributes:
        name: what ``--task`` calls it.
        recipe: the file in ``configs/laptop`` that is used unless ``--config`` names another.
        blocks: the blocks the recipe must hold; ``train`` and ``average`` always, the others belong to the task.
        layers: the default of ``--layers``: one number for each stack, joined by "-" ("18-18", or "6").
        metrics: the names of the scores, in the table's order; the first is the one that counts.
        tests: the data sets that are evaluated, in order; set by ``__init__``.
        shows_log: whether the table shows the training log's perplexities beside the scores.
        options: the command line: ``data`` (a folder or file, or None for the embedded corpus), ``depths`` (``layers``
            as numbers), ``recipe`` (the blocks read), and what `add_options` added.
    """

    name: ClassVar[str]
    recipe: ClassVar[str]
    blocks: ClassVar[tuple[str, ...]] = ("train", "average", "generate")
    layers: ClassVar[str] = "18-18"
    metrics: ClassVar[tuple[str, ...]]
    shows_log: ClassVar[bool] = True
    tests: Sequence[str]

    @staticmethod  # noqa: B027 (most tasks have no options of their own)
    def add_options(add: Callable[..., argparse.Action]) -> None:
        """Adds the task's own options by ``add("--name", ...)``, as of `argparse.ArgumentParser.add_argument`."""

    def __init__(self, options: argparse.Namespace):
        self.options = options

    @abstractmethod
    def corpus_line(self) -> str:
        """Which corpus, versions, seed and preparation: one line, shown by ``--dry-run`` and above the table."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all that decides what `prepare` writes: the raw data and the options (`runner.fingerprint`)."""

    @abstractmethod
    def prepare(self, folder: Path) -> Mapping[str, int]:
        """Writes ``folder``, all or nothing (a temporary name, then `os.replace`), unless it is there already.

        Returns:
            Counts that tell what was done, left out and cut, for example {"train pairs": 9000, "left out": 2}.
        """

    @abstractmethod
    def preprocess(self, folder: Path) -> list[str]:
        """The command line that binarises what `prepare` wrote (`ours`); an empty list if there is nothing to do."""

    @abstractmethod
    def architecture(self, connection: str) -> list[str]:
        """The flags that choose the model: ``--arch`` and, for depths without a name, the options for layers."""

    @abstractmethod
    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        """What ``train`` gets besides the recipe's block and `architecture`.

        Returns:
            The positional data folder with options that hold paths (they do not count as a change when the output
            folder moves), and options that do count, such as ``--source-lang en``.
        """

    @abstractmethod
    def evaluate(self, folder: Path, checkpoint: Path, test: str) -> list[str]:
        """The command line, recipe included, that evaluates a checkpoint on one of `tests`; its output is kept."""

    def progress(self, folder: Path, test: str) -> tuple[int, Counter]:
        """How much there is to evaluate, and a fresh counter of what is done, for the progress display."""
        return 1, lambda lines: (None, "")

    @abstractmethod
    def score(self, folder: Path, output: Path, test: str) -> dict[str, Score]:
        """Reads what `evaluate` printed, and the references in ``folder``: a score for each of `metrics`.

        Raises:
            UserError: the output is not complete; there is never a number for a part.
        """

    @abstractmethod
    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Mapping[str, Score]]]:
        """What needs no model: name -> test -> metric -> score. For example the unigram's perplexity."""
