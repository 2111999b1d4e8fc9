"""The cells of tables and figures at laptop scale: which are done, how long the others take, and making them.

A cell is done if its row stands in its folder or among the results, whoever made it and on whatever machine.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..common.command_line import Parser
from ..common.errors import UserError
from ..connections import CONNECTIONS
from .cells import Cell, prepared_data, threads_of_each
from .jobs.progress import Display
from .jobs.runner import Chain, run_chains
from .recipes import configs_folder, read_recipe
from .rows import Results, Row, describe, identity
from .tasks import TASKS, Task
from .text_data import vocabulary_for

#: seconds of one core per layer, update and 1,000 tokens, where no row tells better: the median of thirteen 18-18 cells
#: of width 64, two at a time on two cores (AMD EPYC with AVX-512, torch 2.14.1, November 2026)
SECONDS_PER_LAYER = 0.011
#: averaging and scoring took 10 there; 5 for the training's own start, which is not measured
EVALUATION_SECONDS = 15


@dataclass(frozen=True)
class Wanted:
    """A cell that a target asks for.

    Attributes:
        task: the task's name.
        connection: the method.
        layers: of each stack.
        seed: of training.
        recipe: stem of a file in `configs/laptop`; None for the task's own.
        updates: of training; None for the recipe's.
        changes: training options that are not the recipe's, as for a training without warm-up.
    """

    task: str
    connection: str
    layers: str
    seed: int
    recipe: str | None = None
    updates: int | None = None
    changes: tuple[tuple[str, str | int | float | bool], ...] = ()


class Corpus:
    """One task's corpus, with one recipe, in its folder; it is prepared when the first cell needs it.

    Attributes:
        task: the task.
        recipe: the recipe's blocks.
        recipe_name: stem of the recipe's file.
        root: the folder of its data and cells, the quickstart's.
    """

    def __init__(self, name: str, recipe: Path, output: Path, data: str | None, words: Sequence[str]):
        kind = TASKS[name]
        parser = Parser(prog=f"reproduce ({name})")
        kind.add_options(parser.add_argument)
        options = parser.parse_args(list(words), argparse.Namespace(data=data, config=str(recipe), task=name))
        options.recipe = read_recipe(recipe, kind.blocks, CONNECTIONS)
        self.recipe, self.recipe_name = options.recipe, recipe.stem
        self.task = kind(fill_vocabulary(kind, options))
        self.root = output / Path(kind.output).name
        self.counts: Mapping[str, int] | None = None

    @cached_property
    def content(self) -> str:
        """Return the hash of the task's data and of how they are prepared."""
        return self.task.content()

    @cached_property
    def places(self):
        """Return the prepared folder, and the command that binarises it."""
        return prepared_data(self.task, self.root)

    def cell(self, wanted: Wanted) -> Cell:
        """Return the cell that is wanted."""
        recipe, name = self.recipe, self.recipe_name
        if wanted.changes:
            recipe = {**recipe, "train": {**recipe["train"], **dict(wanted.changes)}}
            name += "".join(f"+{key}={value}" for key, value in wanted.changes)
        data, binarise = self.places
        what = wanted.connection, wanted.layers, recipe, name, wanted.seed, wanted.updates
        return Cell(self.task, data, binarise, self.root, *what)

    def prepare(self) -> None:
        """Write and binarise the data, unless that is done."""
        if self.counts is not None:
            return
        self.task.check_extra()
        data, binarise = self.places
        self.counts = self.task.prepare(data)
        chain = Chain("preprocess", [binarise] if binarise else [])
        run_chains([chain], 1, 1, Display())
        if chain.failure:
            raise UserError(chain.failure)


def fill_vocabulary(kind: type[Task], options: argparse.Namespace) -> argparse.Namespace:
    """Let a user's corpus of pairs have the recipe's vocabulary, or a smaller one that so few pairs can fill."""
    size = options.recipe.get("subwords", {}).get("vocab_size")
    if options.data is not None and size is not None and options.vocab_size is None:
        pairs = len(kind(argparse.Namespace(**{**vars(options), "vocab_size": size})).splits["train"])
        options.vocab_size = min(size, vocabulary_for(pairs))
    return options


@dataclass
class Work:
    """Cells that are to be made, and where their rows go.

    Attributes:
        cells: with the corpus of each.
        results: where rows are kept for good.
        known: further results whose rows count.
    """

    cells: list[tuple[Corpus, Cell]]
    results: Results
    known: Results | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @cached_property
    def kept(self) -> dict[str, Row]:
        """Return the rows that count, by fingerprint."""
        return (self.known.rows() if self.known else {}) | self.results.rows()

    def row(self, cell: Cell) -> Row | None:
        """Return a cell's row, None if it is not done."""
        return self.kept.get(cell.fingerprint) or cell.row()

    def rows(self) -> list[Row]:
        """Return the rows of all cells that are done."""
        return [row for _, cell in self.cells if (row := self.row(cell)) is not None]

    def missing(self) -> list[tuple[Corpus, Cell]]:
        """Return the cells that are not done."""
        return [(corpus, cell) for corpus, cell in self.cells if self.row(cell) is None]

    def of_other_versions(self) -> list[Row]:
        """Return kept rows of these cells that another version of recipe, corpus or program made."""
        ours = {identity(cell.facts()): cell.fingerprint for _, cell in self.cells}
        return [row for row in self.kept.values() if ours.get(identity(row), row["fingerprint"]) != row["fingerprint"]]

    def seconds(self, cell: Cell) -> float:
        """Estimate the seconds of one core that a cell takes: by rows like it, or by its size."""
        depth, updates = total_depth(cell.layers), int(cell.train["max-update"])
        rates: dict[int, list[float]] = defaultdict(list)  # difference in depth -> seconds per layer and update
        for row in self.kept.values():
            is_alike = row["task"] == cell.task.name and row["recipe"] == cell.recipe_name
            if is_alike and row.get("seconds", {}).get("train"):
                layers = total_depth(row["layers"])
                rates[abs(layers - depth)].append(row["seconds"]["train"] / (row["updates"] * layers))
        shape = cell.task.corpora[0].shape  # of speech, `max-tokens` counts frames
        share = max(shape.encoder_share, shape.decoder_share)
        by_size = SECONDS_PER_LAYER * int(cell.train["max-tokens"]) / 1000 * share
        each = statistics.median(rates[min(rates)]) if rates else by_size
        return each * depth * updates + EVALUATION_SECONDS * len(cell.tests)

    def run(self, jobs: int, again: Sequence[tuple[Corpus, Cell]] = ()) -> None:
        """Make what is missing; a cell that fails is noted and stops no other.

        Args:
            jobs: trainings at a time.
            again: cells whose checkpoints are wanted, though they have rows, which stay.
        """
        ready = []
        for corpus, cell in [*self.missing(), *again]:
            try:
                corpus.prepare()
                ready.append((corpus, cell))
            except UserError as error:
                self.failures[describe(cell.facts())] = str(error)
        by_chain = {id(cell.chain): (corpus, cell) for corpus, cell in ready}
        clock, threads = Clock([self.seconds(cell) for _, cell in ready], jobs), threads_of_each(jobs)

        def ended(chain: Chain) -> None:
            corpus, cell = by_chain[id(chain)]
            row = cell.finish(corpus.counts or {}, threads)
            if row is None:
                self.failures[describe(cell.facts())] = chain.failure or "it has no scores"
            elif cell.fingerprint not in self.kept:
                self.keep(cell, row)
            print(clock.line(self.seconds(cell), len(self.failures)), file=sys.stderr)

        run_chains([cell.chain for _, cell in ready], jobs, threads, Display(), ended)

    def keep(self, cell: Cell, row: Row) -> None:
        """Add a row to the results."""
        self.results.add(row, cell.hypotheses())
        self.kept[row["fingerprint"]] = row

    def adopt(self) -> None:
        """Add to the results the rows that stand in a cell's folder only, as of a quickstart, or in `known`."""
        own = self.results.rows()
        for _, cell in self.cells:
            if cell.fingerprint in own or (row := self.row(cell)) is None:
                continue
            hypotheses = cell.hypotheses()
            if self.known and not hypotheses:
                hypotheses = self.known.all_hypotheses(row)
            self.results.add(row, hypotheses)
            self.kept[row["fingerprint"]] = row


class Clock:
    """Says how many cells are done and about how long the others take."""

    def __init__(self, estimates: Iterable[float], jobs: int):
        self.estimates, self.jobs, self.began = list(estimates), jobs, time.monotonic()
        self.done, self.done_seconds = 0, 0.0

    def line(self, estimate: float, failed: int) -> str:
        """Count one more cell, which was estimated to take `estimate` seconds, and return the line that says so."""
        self.done, self.done_seconds = self.done + 1, self.done_seconds + estimate
        left, passed = sum(self.estimates) - self.done_seconds, time.monotonic() - self.began
        pace = max(0.2, passed * self.jobs / self.done_seconds) if passed > 60 else 1.0
        text = f"cells: {self.done} of {len(self.estimates)} ended" + (f", {failed} failed" if failed else "")
        return f"{text}; about {duration(left / self.jobs * pace)} left" if left > 1 else text


def total_depth(layers: str) -> int:
    """Return the layers of all stacks together: 36 for "18-18"."""
    return sum(map(int, layers.split("-")))


def duration(seconds: float) -> str:
    """Write seconds as people do: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def recipe_file(name: str) -> Path:
    """Return a recipe in `configs/laptop`, by its stem.

    Raises:
        UserError: there is none.
    """
    path = configs_folder() / "laptop" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise UserError(f"there is no recipe {name} in {path.parent}: it has {known}")
    return path
