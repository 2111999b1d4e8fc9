"""The quickstart: one corpus, several connections trained side by side, one table of scores, for each of the tasks.

corpus -> prepare -> preprocess -> for each connection: train -> average -> evaluate -> score -> table and figure.
Every result lies in a folder whose name holds a hash of all that led to it, so a second start repeats only what is not
done or has been changed, and nothing is ever overwritten by other options. What a task is, `tasks` knows.
"""

import argparse
import contextlib
import logging
import signal
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ..common.command_line import Parser, forget_import_time_logging
from ..common.errors import UserError
from ..common.files import locked, write_atomically
from ..common.optional import require_extra
from ..connections import CONNECTIONS
from ..models.methods import METHODS, add_code_options, parse_methods
from . import report
from .cells import Cell, check_depths, cores, prepared_data, threads_of_each
from .checkpoint_cells import CHECKPOINT, CheckpointCell, check_file
from .jobs.progress import Display, History
from .jobs.runner import Chain, Command, run_chains
from .recipes import read_recipe
from .tasks import TASKS
from .tasks.base import Task

DESCRIPTION = """\
Train Transformers with different connections side by side on a small corpus that is part of the package or comes with
what it needs, average checkpoints, evaluate them and print one table of scores. Run the same command again to
resume."""
RAW = argparse.RawDescriptionHelpFormatter


def epilog() -> str:
    """Return the tasks, and what `--data` reads for each of them."""
    tasks = [f"  {name:<15}{task.summary}" for name, task in TASKS.items()]
    reads = [
        textwrap.fill(task.reads, 100, initial_indent=f"  {name:<15}", subsequent_indent=17 * " ")
        for name, task in TASKS.items()
    ]
    more = "Each task has options of its own: `quickstart --task lm --help` lists those of the language model."
    return "\n".join(["tasks:", *tasks, "", "what --data reads, each file plain or .gz:", *reads, "", more])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; mistakes are one line."""
    which = Parser(prog="b2t-fairseq quickstart", add_help=False)
    which.add_argument(
        "--task", default=next(iter(TASKS)), choices=list(TASKS), help="what to learn (default: %(default)s)"
    )
    task = TASKS[which.parse_known_args(arguments)[0].task]
    parser = Parser(
        prog="b2t-fairseq quickstart", description=DESCRIPTION, epilog=epilog(), parents=[which], formatter_class=RAW
    )
    add = parser.add_argument
    add("--data", metavar="PATH", help="your own corpus, in the layout the task reads (default: the embedded corpus)")
    what = f"what to compare: {METHODS}, and checkpoint:FILE, which is only evaluated (default: %(default)s)"
    add("--connections", default="post,pre,b2t", metavar="A,B", help=what)
    add_code_options(add)
    add("--layers", default=task.layers, metavar="N-M", help="layers of each stack (default: %(default)s)")
    add("--updates", type=int, metavar="N", help="training updates (default: the recipe's max-update)")
    add("--config", metavar="FILE", help=f"recipe (default: configs/laptop/{task.recipe_name})")
    add("--output", default=task.output, metavar="DIR", help="where results go (default: %(default)s)")
    add("--jobs", type=int, metavar="N", help="trainings at a time (default: all, at most two a core)")
    add("--dry-run", action="store_true", help="print every command, run none")
    task.add_options(add)
    options = parser.parse_args(arguments)
    check_depths(options.layers, task)
    for name, least in (("updates", 1), ("vocab_size", 10), ("jobs", 1)):
        value = getattr(options, name, None)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    options.connections = parse_methods(options.connections, "--connections", {CHECKPOINT: check_file})
    options.config = options.config or str(task.default_recipe(options))
    options.recipe = read_recipe(options.config, task.blocks, CONNECTIONS)
    return options


class Plan:
    """All commands and where their results go; making a plan changes nothing on disk."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.recipe = options, options.recipe
        self.task: Task = TASKS[options.task](options)
        self.root = Path(options.output)
        self.data, self.binarise = prepared_data(self.task, self.root)

    @cached_property
    def cells(self) -> list[Cell]:
        """Return what is trained, one cell for each connection, and the checkpoints that are evaluated."""
        recipe_name = Path(self.options.config).stem
        places = self.task, self.data, self.binarise, self.root
        what = self.options.layers, self.recipe, recipe_name, None, self.options.updates
        kinds = {name: CheckpointCell if name.startswith(CHECKPOINT) else Cell for name in self.options.connections}
        return [kind(*places, name, *what) for name, kind in kinds.items()]

    @cached_property
    def chains(self) -> list[Chain]:
        """Return what is run for each cell; asked for when the data are there, since their size is shown."""
        return [cell.chain for cell in self.cells]

    @property
    def preprocess(self) -> list[Command]:
        """Return what binarises the corpus: one command or none."""
        return [self.binarise] if self.binarise else []

    def lines(self) -> list[str]:
        """Return the plan as text: what `--dry-run` prints."""
        commands = [*self.preprocess, *(command for chain in self.chains for command in chain.commands)]
        return [f"# {self.task.corpus_line()} -> {self.data}", *map(str, commands)]


def make_row(cell: Cell, counts: Mapping[str, int], threads: int) -> report.Row:
    """Build a connection's row from its cell; what cannot be scored is a failure of its chain."""
    result, history = cell.finish(counts, threads), cell.history()
    row = report.Row(cell.connection, parameters=history.parameters, checkpoint=str(cell.averaged))
    if history.train:
        row.train_perplexity, row.valid_perplexity = history.train_perplexity(), history.valid_perplexity()
    row.failure = cell.chain.failure
    if result is not None and result["scores"]:
        row.signature, row.scores = result["signature"], cell.scores()
    return row


def work(plan: Plan, seconds: dict[str, float]) -> bool:
    """Run what is not done and write the report; return whether every chain ended without an accident."""
    with timed("corpus", seconds):
        counts = plan.task.prepare(plan.data)
        sizes = ", ".join(f"{name}: {count}" for name, count in counts.items())
        print(f"{plan.data}: {sizes}", file=sys.stderr)
        binarise = Chain("preprocess", plan.preprocess)
        run_chains([binarise], 1, 1, Display())
        if binarise.failure:
            raise UserError(binarise.failure)
    with timed("training, averaging, evaluation", seconds):
        jobs = min(plan.options.jobs or 2 * cores(), len(plan.chains))
        threads = threads_of_each(jobs)
        run_chains(plan.chains, jobs, threads, Display())
    with timed("scores and report", seconds):
        results = [make_row(cell, counts, threads) for cell in plan.cells]
        baselines = plan.task.baselines(plan.data)
        rows = [*results, *(report.Row(name, "baseline", scores=s, checkpoint="none") for name, s in baselines.items())]
        histories = {cell.connection: cell.history() for cell in plan.cells if not isinstance(cell, CheckpointCell)}
        write_report(plan, rows, histories, seconds)
    return all(chain.failure is None or chain.failure.startswith("training failed") for chain in plan.chains)


def write_report(
    plan: Plan, rows: Sequence[report.Row], histories: Mapping[str, History], seconds: Mapping[str, float]
) -> None:
    """Write table.md, curves.png and results.json into the output folder, and the table to stdout."""
    task, title = plan.task, f"{plan.options.layers} layers"
    notes = [f"{chain.name}: {chain.failure}" for chain in plan.chains if chain.failure]
    columns = [(metric, test) for test in task.tests for metric in task.metrics]
    parts = [report.table(rows, columns, task.shows_log), "\n".join(notes), report.signatures(rows, columns)]
    text = "\n\n".join(filter(None, parts))
    write_atomically(plan.root / "table.md", f"# {title}\n\n{task.corpus_line()}\n\n{text}\n")
    report.draw_curves(histories, plan.root / "curves.png", title)
    commands = {f"{chain.name} {name}": value for chain in plan.chains for name, value in chain.seconds.items()}
    settings = {key: value for key, value in vars(plan.options).items() if key != "dry_run"}
    settings["corpus"] = task.corpus_line()
    report.write_results(plan.root / "results.json", rows, histories, settings, {**commands, **seconds})
    written = ", ".join(str(plan.root / name) for name in ("table.md", "curves.png", "results.json"))
    print(f"\n{text}\n\nwritten: {written}")


@contextlib.contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note the wall time of a phase."""
    began = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - began, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, then work; return 0 if all is well (a training that diverges is a result), 1 after an accident."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # children are stopped as by Ctrl-C
    forget_import_time_logging()  # fairseq's, at level DEBUG
    logging.root.setLevel(logging.WARNING)
    options = parse(arguments)
    plan = Plan(options)
    if options.dry_run:
        print("\n".join(plan.lines()))
        return 0
    require_extra("plots", "the quickstart's curves")
    plan.task.check_extra()
    seconds: dict[str, float] = {}
    with locked(plan.root, "quickstart"):
        fine = work(plan, seconds)
    print("wall time: " + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    return 0 if fine else 1


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
