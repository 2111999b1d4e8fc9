"""The paper's tables, figures and findings from one command, at laptop scale or at the paper's.

    b2t-fairseq reproduce TARGET [TARGET ...] [--scale laptop|paper] [--seeds 1,2,3] [--dry-run] [--report]

A target asks for cells (trainings with their scores) and measurements (probes of models). What is done, by whatever
command or machine, is not done again; the rest is made, its rows are added to the results as they come, and the report
is written. Run the same command again to resume.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ..common.command_line import Parser, forget_import_time_logging, positive
from ..common.errors import UserError
from ..common.files import locked
from ..common.optional import require_extra
from ..models.methods import METHODS, add_code_options, parse_methods
from .published import TARGETS, Target, get_target
from .scale import Scale
from .scales import LaptopScale, PaperScale
from .tasks import TASKS

SCALES: dict[str, type[Scale]] = {"laptop": LaptopScale, "paper": PaperScale}
LAUNCHERS = ("local", "slurm")
LARGEST_SEED = 4_000_000_000  # NumPy takes less than 2**32, and fairseq adds the epoch and the update
FINDINGS = ("table1", "table2", "table3", "table4")  # what speaks to the three findings
DESCRIPTION = """\
Make the paper's tables and figures and say which of its findings hold. Cells that are done, by this command, by the
quickstart or by paper-train, are not made again, nor those whose rows are among the results. Run the same command again
to resume."""
EXAMPLES = """\
targets: {targets}, findings (tables 1 to 4), all (at paper scale without warmup, which has no form there)

examples:
  b2t-fairseq reproduce table1 --dry-run             what would be run, and how long it takes
  b2t-fairseq reproduce table1 figure5 --seeds 1     one seed, at laptop scale, on the embedded corpus
  b2t-fairseq reproduce table1 --data multi30k       on parallel text of your own
  b2t-fairseq reproduce methods figure3 --connections post,b2t,mine --connection-module mine.py
  b2t-fairseq reproduce all --report                 the report of what is done, training nothing
  b2t-fairseq reproduce table1 --scale paper --launcher slurm"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; mistakes are one line."""
    parser = Parser(
        prog="b2t-fairseq reproduce",
        description=DESCRIPTION,
        epilog=EXAMPLES.format(targets=", ".join(TARGETS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("targets", nargs="+", metavar="TARGET", help="what to make: see below")
    add("--scale", default="laptop", choices=list(SCALES), help="default: %(default)s")
    add("--seeds", metavar="1,2,3", help="seeds of the trainings (default: 1,2,3; at paper scale 1)")
    add("--jobs", type=positive, metavar="N", help="trainings at a time (default: one a core; at paper scale 1)")
    add("--data", metavar="DIR", help="your own corpus for all targets, which must be of one task")
    add("--connections", metavar="A,B", help=f"only these methods of each table and figure, or others: {METHODS}")
    add("--depths", metavar="N-M,…", help="only these depths of each table and figure")
    add("--updates", type=positive, metavar="N", help="training updates (default: the target's)")
    add("--output", metavar="DIR", help="where cells are (default: runs) and, if given, results and report, too")
    add("--launcher", default="local", choices=LAUNCHERS, help="of cells at paper scale (default: %(default)s)")
    add("--recompute", action="store_true", help="let no row count that came with this copy of the project")
    add("--dry-run", action="store_true", help="print the plan with estimated times, run nothing")
    add("--report", action="store_true", help="write the report of what is done, train nothing")
    add_code_options(add)
    options, further = parser.parse_known_args(arguments)
    options.targets = find_targets(options.targets, options.scale)
    options.task_words = task_words(options, further)
    options.seeds = (
        whole_numbers(options.seeds, "--seeds") if options.seeds is not None else default_seeds(options.scale)
    )
    if options.connections is not None:
        options.connections = parse_methods(options.connections, "--connections")
    if options.depths is not None:
        options.depths = [depth.strip() for depth in options.depths.split(",")]
        check_depths(options.depths, options.targets)
    if options.recompute and not options.output:
        parser.error("--recompute needs --output: another folder for the rows that are made again")
    if options.launcher == "slurm" and options.scale != "paper":
        parser.error("--launcher slurm is for --scale paper: a cell at laptop scale takes minutes on one core")
    return options


def find_targets(names: Sequence[str], scale: str) -> list[Target]:
    """Return the targets of these names, `findings` and `all` spelled out, each once.

    Raises:
        UserError: an unknown name, or none; lists the known ones.
    """
    every = [name for name in TARGETS if scale != "paper" or get_target(name).variants == [{}]]
    words, spelled = [word for text in names for word in text.split(",") if word], []
    for name in words or [""]:
        spelled += every if name == "all" else FINDINGS if name == "findings" else [name]
    return [get_target(name) for name in dict.fromkeys(spelled)]


def check_depths(depths: Sequence[str], targets: Sequence[Target]) -> None:
    """Refuse depths that none of the targets has, and targets that have none of the depths.

    Raises:
        UserError: names the depth or the target, and the depths that there are.
    """
    every: dict[str, None] = {}
    for target in targets:
        known = dict.fromkeys(layers for _, layers in (*target.models(), *target.trained_models()))
        every |= known
        if not set(depths) & set(known):
            raise UserError(f"--depths {','.join(depths)}: {target.name} has {', '.join(known)}")
    if unknown := [depth for depth in depths if depth not in every]:
        raise UserError(f"--depths {','.join(depths)}: no target has {unknown[0]}; there are {', '.join(every)}")


def task_words(options: argparse.Namespace, further: Sequence[str]) -> list[str]:
    """Return the further options, which belong to the one task that all targets are of, as `--source de`.

    Raises:
        UserError: with `--data` or further options, targets of several tasks; an option that the task does not have.
    """
    tasks = {target.task for target in options.targets}
    if not (options.data or further):
        return []
    if len(tasks) > 1:
        what = f"--data {options.data}" if options.data else further[0]
        raise UserError(f"{what} belongs to one task, the targets are of {', '.join(sorted(tasks))}: name those of one")
    if options.data and not Path(options.data).exists():
        raise UserError(f"--data {options.data}: there is no such folder; check the path")
    task = TASKS[tasks.pop()]
    parser = Parser(prog=f"reproduce ({task.name})")
    task.add_options(parser.add_argument)
    parser.parse_args(list(further))  # refuses what is not the task's
    return list(further)


def whole_numbers(text: str, option: str) -> list[int]:
    """Parse different whole numbers, `1,2,3`, which NumPy takes as seeds."""
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) for word in words if word.isdecimal()]
    if len(set(numbers)) < len(words) or max(numbers) > LARGEST_SEED:
        raise UserError(f"{option} {text}: write different whole numbers up to {LARGEST_SEED}, as in 1,2,3")
    return numbers


def default_seeds(scale: str) -> list[int]:
    """Return the seeds of the published results; the paper itself has one."""
    return [1] if scale == "paper" else [1, 2, 3]


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, make what is missing, write the report; return 0, or 1 if a cell or a measurement failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # children are stopped as by Ctrl-C
    forget_import_time_logging()  # fairseq's, at level DEBUG
    logging.root.setLevel(logging.WARNING)
    options = parse(arguments)
    scale = SCALES[options.scale](options)
    if options.dry_run:
        print("\n".join(scale.plan()))
        return 0
    require_extra("plots", "the report's figures")
    failures: list[str] = []
    with locked(scale.root, "reproduce"):
        scale.adopt()
        if not options.report:
            failures = scale.make()
        print("\n".join(scale.write_report()))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
