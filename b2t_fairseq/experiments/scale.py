"""What the scales of `reproduce` share: where things are, which models are wanted, the report."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import reporting
from .published import Target
from .recipes import configs_folder
from .rows import Results


def kept_results() -> Path:
    """Return the results folder: the checkout's; of an installed package, the one in the current folder."""
    top = configs_folder().parent
    return top / "results" if (top / "pyproject.toml").is_file() else Path("results")


class Scale(ABC):
    """One scale.

    Attributes:
        options: the command line of `reproduce`.
        targets: what is to be made.
        root: the folder of the cells, which one process at a time works in.
        report_folder: where the report goes.
        results: rows and measurements that are kept for good.
        known: those that came with this copy of the project, which count, too; None if `results` are these, or with
            `--recompute`.
    """

    name: str

    def __init__(self, options: argparse.Namespace):
        self.options, self.targets = options, options.targets
        self.root = Path(options.output or "runs")
        self.report_folder = Path(options.output) / "results" if options.output else kept_results()
        self.results = Results(self.report_folder / self.name)
        self.known = None if options.output is None or options.recompute else Results(kept_results() / self.name)

    @abstractmethod
    def plan(self) -> list[str]:
        """Return the plan as text: what `--dry-run` prints."""

    @abstractmethod
    def make(self) -> list[str]:
        """Make what is missing; return what failed."""

    @abstractmethod
    def missing_of(self, target: Target) -> list[str]:
        """Describe a target's cells and measurements that are not done."""

    @abstractmethod
    def adopt(self) -> None:
        """Add to the results what the targets ask for and was made elsewhere: in a cell's folder, or `known`."""

    def write_report(self) -> list[str]:
        """Write the report of all that is among the results; return the lines that say where."""
        missing = list(dict.fromkeys(line for target in self.targets for line in self.missing_of(target)))
        written = reporting.write(self.results, self.report_folder, missing, self.options.connections or ())
        return [*(f"not done yet: {line}" for line in missing), *written]

    @abstractmethod
    def fresh_model(self, target: Target, connection: str, layers: str) -> tuple[list[str], str]:
        """Return the options of `analyze` for a model before training, and a word that says how it is made."""

    @abstractmethod
    def trained_cells(self, target: Target) -> list[Any]:
        """Return a target's cells of the first seed, which are measured."""

    @abstractmethod
    def data_of(self, cell: Any) -> Path:
        """Return the folder that fairseq reads for a cell."""

    def models(self, models: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return (connection, layers), with the connections and depths of the command line if it names some."""
        if self.options.depths is not None:
            models = [model for model in models if model[1] in self.options.depths]
        if self.options.connections is None:
            return list(models)
        depths = dict.fromkeys(layers for _, layers in models)
        return [(connection, layers) for layers in depths for connection in self.options.connections]
