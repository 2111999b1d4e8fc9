"""The two scales of `reproduce`: which cells and measurements the targets ask for there, and how they are made."""

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from . import measurements, reporting, significance
from .cells import Cell, check_depths, cores
from .jobs.progress import Display
from .jobs.runner import Chain, run_chains
from .laptop import Corpus, Wanted, Work, duration, recipe_file
from .measurements import Measurement
from .paper_cells import ESTIMATED_FOR, PaperCell
from .published import Target
from .recipes import configs_folder, given
from .rows import Results, Row, describe
from .tasks import PAPER_CORPORA, TASKS


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
    """

    name: str

    def __init__(self, options: argparse.Namespace):
        self.options, self.targets = options, options.targets
        self.root = Path(options.output or "runs")
        self.report_folder = Path(options.output) / "results" if options.output else kept_results()
        self.results = Results(self.report_folder / self.name)
        #: rows that count, with those that came with this copy of the project
        self.known = [] if options.output is None or options.recompute else [Results(kept_results() / self.name)]

    @abstractmethod
    def plan(self) -> list[str]:
        """Return the plan as text: what `--dry-run` prints."""

    @abstractmethod
    def make(self) -> list[str]:
        """Make what is missing; return what failed."""

    @abstractmethod
    def rows_of(self, target: Target) -> list[Row]:
        """Return the rows of a target's cells that are done."""

    @abstractmethod
    def missing_of(self, target: Target) -> list[str]:
        """Describe a target's cells and measurements that are not done."""

    def write_report(self) -> list[str]:
        """Write the report of all that is among the results; return the lines that say where."""
        missing = list(dict.fromkeys(line for target in self.targets for line in self.missing_of(target)))
        written = reporting.write(self.results, self.report_folder, missing)
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
        """Return (connection, layers), with the connections of the command line if it names some."""
        if self.options.connections is None:
            return list(models)
        depths = dict.fromkeys(layers for _, layers in models)
        return [(connection, layers) for layers in depths for connection in self.options.connections]


class LaptopScale(Scale):
    """Narrow models on embedded or small corpora, on the cores of this machine."""

    name = "laptop"

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self.corpora: dict[tuple[str, str], Corpus] = {}
        self.cells = {target.name: [self.cell(wanted) for wanted in self.wanted(target)] for target in self.targets}
        every = {cell.fingerprint: (corpus, cell) for cells in self.cells.values() for corpus, cell in cells}
        self.work = Work(list(every.values()), self.results, self.known, options.recompute)
        self.jobs = options.jobs or cores()
        self.measurements = {target.name: measurements.of(target, self) for target in self.targets}

    def wanted(self, target: Target) -> list[Wanted]:
        """Return the cells that a target asks for; a figure of fresh models asks for none."""
        settings, seeds = target.laptop, self.options.seeds
        recipe = settings.get("data_recipe" if self.options.data else "recipe")
        updates = self.options.updates or (None if self.options.data else settings.get("updates"))
        return [
            Wanted(target.task, connection, layers, seed, recipe, updates, tuple(changes.items()))
            for connection, layers in self.models(target.trained_models())
            for changes in target.variants
            for seed in seeds[: settings.get("seeds", len(seeds))]
        ]

    def cell(self, wanted: Wanted) -> tuple[Corpus, Cell]:
        """Return a wanted cell with its corpus."""
        task = TASKS[wanted.task]
        check_depths(wanted.layers, task)
        recipe = recipe_file(wanted.recipe or Path(task.recipe_name).stem)
        key = wanted.task, recipe.stem
        if key not in self.corpora:
            words = self.options.task_words
            self.corpora[key] = Corpus(wanted.task, recipe, self.root, self.options.data, words)
        return self.corpora[key], self.corpora[key].cell(wanted)

    def fresh_model(self, target: Target, connection: str, layers: str) -> tuple[list[str], str]:
        """Return the options of `analyze` for a model of the target's width, on the embedded corpus or the user's."""
        width = str(target.laptop.get("width", 64))
        data = ["--data", self.options.data] if self.options.data else []
        for side in ("source", "target"):
            if language := given(self.options.task_words, side):
                data += [f"--{side}-lang", language]
        where = f"w{width}" + (f"-{Path(self.options.data).resolve().name}" if self.options.data else "")
        return ["--connection", connection, "--layers", layers, "--width", width, *data], where

    def trained_cells(self, target: Target) -> list[Cell]:
        """Return a target's cells of the first seed, without variants."""
        seed = self.options.seeds[0]
        return [cell for _, cell in self.cells[target.name] if cell.seed == seed and "+" not in cell.recipe_name]

    def data_of(self, cell: Cell) -> Path:
        """Return the folder that fairseq reads for a cell."""
        return Path(cell.task.train(cell.data)[0][0])

    def plan(self) -> list[str]:
        """Return a line for each target, then each cell that is not done, with its time and its training command."""
        lines, seen, total = [], set(), 0.0
        for target in self.targets:
            cells = [cell for _, cell in self.cells[target.name]]
            missing = [cell for cell in cells if self.work.row(cell) is None]
            fresh = [cell for cell in missing if cell.fingerprint not in seen]
            seconds = sum(self.work.seconds(cell) for cell in fresh)
            open_measurements = [m for m in self.measurements[target.name] if not m.is_done(self.results)]
            seconds += sum(m.seconds for m in open_measurements)
            seen |= {cell.fingerprint for cell in fresh}
            total += seconds
            parts = [f"{len(cells)} cells, {len(cells) - len(missing)} done"] if cells else []
            if shared := len(missing) - len(fresh):
                parts.append(f"{shared} shared with targets above")
            if self.measurements[target.name]:
                parts.append(f"{len(self.measurements[target.name])} measurements, {len(open_measurements)} to make")
            lines.append(f"{target.name}: {target.title}")
            lines.append(f"  {', '.join(parts)}; about {duration(seconds / self.jobs)} with {self.jobs} at a time")
            for cell in fresh:
                about = duration(self.work.seconds(cell))
                lines.append(f"  {describe(cell.facts())}: about {about} of one core")
                lines.append(f"    {cell.chain.commands[0]}")
        return [*lines, f"in all: about {duration(total / self.jobs)}", *self.notes()]

    def notes(self) -> list[str]:
        """Say which kept rows do not count."""
        others = self.work.of_other_versions()
        if not others:
            return []
        first = describe(others[0])
        return [
            f"note: {len(others)} kept rows are of other versions of a recipe, a corpus or the program: they do not "
            f"count (the first: {first}, {others[0]['fingerprint']})"
        ]

    def make(self) -> list[str]:
        """Make the cells, then the measurements; a failing one stops no other."""
        for line in self.notes():
            print(line, file=sys.stderr)
        self.work.keep_what_others_made()
        self.work.run(self.jobs, self.without_checkpoint())
        failures = [f"{name}: {why}" for name, why in self.work.failures.items()]
        corpora = {cell.fingerprint: corpus for corpus, cell in self.work.cells}
        significance.make(self.work.rows(), corpora, self.results)
        return failures + measurements.make(self.all_measurements(), self.results, self.jobs)

    def without_checkpoint(self) -> list[tuple[Corpus, Cell]]:
        """Return the cells that were made elsewhere, and are to be measured here: they are trained again."""
        wanted = {m.checkpoint for m in self.all_measurements() if m.checkpoint and not m.is_done(self.results)}
        return [
            (corpus, cell)
            for corpus, cell in self.work.cells
            if cell.averaged in wanted and not cell.averaged.exists() and self.work.row(cell) is not None
        ]

    def all_measurements(self) -> list[Measurement]:
        """Return the measurements of all targets, each once."""
        return list({m.name: m for each in self.measurements.values() for m in each}.values())

    def rows_of(self, target: Target) -> list[Row]:
        """Return the rows of a target's cells that are done."""
        return [row for _, cell in self.cells[target.name] if (row := self.work.row(cell)) is not None]

    def missing_of(self, target: Target) -> list[str]:
        """Describe a target's cells and measurements that are not done."""
        cells = [describe(cell.facts()) for _, cell in self.cells[target.name] if self.work.row(cell) is None]
        return cells + [m.name for m in self.measurements[target.name] if not m.is_done(self.results)]


class PaperScale(Scale):
    """The paper's models on the paper's corpora, on GPUs."""

    name = "paper"

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self.cells = {target.name: self.cells_of(target) for target in self.targets}
        self.every = list({cell.folder: cell for cells in self.cells.values() for cell in cells}.values())
        self.measurements = {target.name: measurements.of(target, self) for target in self.targets}
        self.jobs = options.jobs or 1
        self.kept: dict[str, Row] = {}
        for results in [*self.known, self.results]:
            self.kept |= results.rows()

    def cells_of(self, target: Target) -> list[PaperCell]:
        """Return the cells that a target asks for: those of its tables; the recipe's own depths and updates."""
        task, corpus = PAPER_CORPORA[target.corpus]
        if target.variants != [{}]:
            raise UserError(
                f"{target.name} varies the training and has no form at paper scale: leave out --scale paper"
            )
        settings = self.options.data, self.root / "paper", self.options.updates
        return [
            PaperCell(task, corpus, connection, layers, seed, *settings)
            for connection, layers in self.models(target.trained_models())
            for seed in self.options.seeds
        ]

    def fresh_model(self, target: Target, connection: str, layers: str) -> tuple[list[str], str]:
        """Return the options of `analyze` for a model of the paper's size on its corpus."""
        task, corpus = PAPER_CORPORA[target.corpus]
        architecture = f"{task.architecture_stem}_{connection}_{layers.replace('-', '_')}"
        return ["--arch", architecture, "--data", str(corpus.binarised(self.prepared(target.corpus)))], "paper"

    def prepared(self, corpus: str) -> Path:
        """Return the folder of a prepared corpus."""
        return Path(self.options.data or f"data/{corpus}")

    def trained_cells(self, target: Target) -> list[PaperCell]:
        """Return a target's cells of the first seed."""
        return [cell for cell in self.cells[target.name] if cell.seed == self.options.seeds[0]]

    def data_of(self, cell: PaperCell) -> Path:
        """Return the folder that fairseq reads for a cell."""
        return cell.corpus.binarised(self.prepared(cell.corpus.name))

    def row(self, cell: PaperCell) -> Row | None:
        """Return a cell's row, None if it is not done."""
        return self.kept.get(cell.fingerprint) or cell.row()

    def plan(self) -> list[str]:
        """Return a line for each target and for each cell that is not done, with its time and its command."""
        lines, hours = [], 0.0
        for target in self.targets:
            missing = [cell for cell in self.cells[target.name] if self.row(cell) is None]
            lines.append(f"{target.name}: {target.title}")
            lines.append(f"  {len(self.cells[target.name])} cells, {len(self.cells[target.name]) - len(missing)} done")
            for cell in missing:
                lines.append(f"  {cell.name}: about {cell.gpu_hours:,.0f} {ESTIMATED_FOR} hours")
                lines.append(f"    {cell.chain.commands[0]}")
        hours = sum(cell.gpu_hours for cell in self.every if self.row(cell) is None)
        return [*lines, f"in all: about {hours:,.0f} {ESTIMATED_FOR} hours"]

    def make(self) -> list[str]:
        """Make the cells one after the other, or hand them to SLURM; then the measurements that can be made."""
        missing = [cell for cell in self.every if self.row(cell) is None]
        if self.options.launcher == "slurm":
            for cell in missing:
                print(cell.submit())
            print(f"{len(missing)} jobs; run this command with --report when they are done")
            return []
        by_chain = {id(cell.chain): cell for cell in missing}
        failures = []

        def ended(chain: Chain) -> None:
            cell = by_chain[id(chain)]
            row = cell.row()
            if row is None:
                failures.append(f"{cell.name}: {chain.failure}")
                return
            self.results.add(row, cell.hypotheses())
            self.kept[row["fingerprint"]] = row

        run_chains([cell.chain for cell in missing], self.jobs, 1, Display(), ended)
        wanted = [m for each in self.measurements.values() for m in each]
        return failures + measurements.make(wanted, self.results, self.jobs)

    def rows_of(self, target: Target) -> list[Row]:
        """Return the rows of a target's cells that are done."""
        return [row for cell in self.cells[target.name] if (row := self.row(cell)) is not None]

    def missing_of(self, target: Target) -> list[str]:
        """Describe a target's cells and measurements that are not done."""
        cells = [cell.name for cell in self.cells[target.name] if self.row(cell) is None]
        return cells + [m.name for m in self.measurements[target.name] if not m.is_done(self.results)]
