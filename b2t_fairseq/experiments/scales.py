"""The two scales of `reproduce`: which cells and measurements the targets ask for there, and how they are made."""

import argparse
import sys
from pathlib import Path

from ..common.errors import UserError
from ..models.methods import is_arch
from . import measurements, significance
from .cells import Cell, check_depths, cores
from .jobs.progress import Display
from .jobs.runner import Chain, run_chains
from .laptop import Corpus, Wanted, Work, duration, recipe_file
from .paper_cells import ESTIMATED_FOR, PaperCell
from .published import Target
from .recipes import given
from .rows import Row, clean, describe
from .scale import Scale
from .tasks import PAPER_CORPORA, TASKS


class LaptopScale(Scale):
    """Narrow models on embedded or small corpora, on the cores of this machine."""

    name = "laptop"

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self.corpora: dict[tuple[str, str], Corpus] = {}
        self.cells = {target.name: [self.cell(wanted) for wanted in self.wanted(target)] for target in self.targets}
        every = {cell.fingerprint: (corpus, cell) for cells in self.cells.values() for corpus, cell in cells}
        self.work = Work(list(every.values()), self.results, self.known)
        self.jobs = options.jobs or cores()
        self.measurements = {target.name: measurements.of(target, self) for target in self.targets}

    def wanted(self, target: Target) -> list[Wanted]:
        """Return the cells that a target asks for; a figure of fresh models asks for none."""
        settings, seeds = target.laptop, self.options.seeds
        if "probe_interval" in settings and (others := [n for n in self.options.connections or [] if is_arch(n)]):
            raise UserError(
                f"{target.name} measures models while they train, and {others[0]} has no --probe-interval: leave it "
                "out of --connections here, and use `b2t-fairseq analyze` on its checkpoints"
            )
        recipe = settings.get("data_recipe" if self.options.data else "recipe")
        updates = self.options.updates or (None if self.options.data else settings.get("updates"))
        probing = {"probe-interval": settings["probe_interval"]} if "probe_interval" in settings else {}
        return [
            Wanted(target.task, connection, layers, seed, recipe, updates, tuple((changes | probing).items()))
            for connection, layers in self.models(target.trained_models())
            for changes in target.variants
            for seed in seeds[: settings.get("seeds", len(seeds))]
        ]

    def cell(self, wanted: Wanted) -> tuple[Corpus, Cell]:
        """Return a wanted cell with its corpus."""
        check_depths(wanted.layers, TASKS[wanted.task])
        corpus = self.corpus(wanted.task, wanted.recipe)
        return corpus, corpus.cell(wanted)

    def corpus(self, task: str, recipe: str | None) -> Corpus:
        """Return a task's corpus with a recipe, None for the task's own."""
        path = recipe_file(recipe or Path(TASKS[task].recipe_name).stem)
        key = task, path.stem
        if key not in self.corpora:
            self.corpora[key] = Corpus(task, path, self.root, self.options.data, self.options.task_words)
        return self.corpora[key]

    def fresh_model(self, target: Target, connection: str, layers: str) -> tuple[list[str], str]:
        """Return the options of `analyze` for a model of the target's width, on the embedded corpus or the user's."""
        width = str(target.laptop.get("width", 64))
        data = ["--data", self.options.data] if self.options.data else []
        for side in ("source", "target"):
            if language := given(self.options.task_words, side):
                data += [f"--{side}-lang", language]
        where = f"w{width}"
        if self.options.data:  # another corpus of that name, or other sentences in it, are another measurement
            corpus = self.corpus(target.task, target.laptop.get("data_recipe"))
            where += f"-{clean(Path(self.options.data).resolve().name)}-{corpus.content[:8]}"
        return ["--connection", connection, "--layers", layers, "--width", width, *data], where

    def trained_cells(self, target: Target) -> list[Cell]:
        """Return a target's cells of the first seed."""
        return [cell for _, cell in self.cells[target.name] if cell.seed == self.options.seeds[0]]

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
            open_measurements = [m for m in self.measurements[target.name] if not m.is_done(self.results, self.known)]
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
        self.work.run(self.jobs, self.without_checkpoint())
        failures = [f"{name}: {why}" for name, why in self.work.failures.items()]
        corpora = {cell.fingerprint: corpus for corpus, cell in self.work.cells}
        significance.make(self.work.rows(), corpora, self.results)
        return failures + measurements.make(measurements.each(self.measurements), self.results, self.jobs)

    def adopt(self) -> None:
        """Add to the results what was made elsewhere."""
        self.work.adopt()
        for measurement in measurements.each(self.measurements):
            measurement.adopt(self.results, self.known)

    def without_checkpoint(self) -> list[tuple[Corpus, Cell]]:
        """Return the cells that were made elsewhere, and are to be measured here: they are trained again."""
        wanted = {
            m.checkpoint for m in measurements.each(self.measurements) if m.checkpoint and not m.is_done(self.results)
        }
        return [
            (corpus, cell)
            for corpus, cell in self.work.cells
            if cell.averaged in wanted and not cell.averaged.exists() and self.work.row(cell) is not None
        ]

    def missing_of(self, target: Target) -> list[str]:
        """Describe a target's cells and measurements that are not done."""
        cells = [describe(cell.facts()) for _, cell in self.cells[target.name] if self.work.row(cell) is None]
        return cells + [m.words for m in self.measurements[target.name] if not m.is_done(self.results, self.known)]


class PaperScale(Scale):
    """The paper's models on the paper's corpora, on GPUs."""

    name = "paper"

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self.cells = {target.name: self.cells_of(target) for target in self.targets}
        self.every = list({cell.folder: cell for cells in self.cells.values() for cell in cells}.values())
        self.measurements = {target.name: measurements.of(target, self) for target in self.targets}
        self.jobs = options.jobs or 1
        self.kept = (self.known.rows() if self.known else {}) | self.results.rows()

    def cells_of(self, target: Target) -> list[PaperCell]:
        """Return the cells that a target asks for: those of its tables; the recipe's own depths and updates."""
        task, corpus = PAPER_CORPORA[target.corpus]
        if others := [name for name in self.options.connections or [] if is_arch(name)]:
            raise UserError(f"{others[0]}: --scale paper has connections alone: train it by fairseq-train")
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

    def adopt(self) -> None:
        """Add to the results what was made elsewhere."""
        own = self.results.rows()
        for cell in self.every:
            if cell.fingerprint not in own and (row := self.row(cell)) is not None:
                hypotheses = cell.hypotheses() or (self.known.all_hypotheses(row) if self.known else {})
                self.results.add(row, hypotheses)
        for measurement in measurements.each(self.measurements):
            measurement.adopt(self.results, self.known)

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
        return failures + measurements.make(measurements.each(self.measurements), self.results, self.jobs)

    def missing_of(self, target: Target) -> list[str]:
        """Describe a target's cells and measurements that are not done."""
        cells = [cell.name for cell in self.cells[target.name] if self.row(cell) is None]
        return cells + [m.words for m in self.measurements[target.name] if not m.is_done(self.results, self.known)]
