"""The command line."""

import argparse
import os
import sys
from collections.abc import Sequence

from tqdm import tqdm

from b2t_fairseq.common.command_line import Parser, not_negative, positive
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.common.files import check_writable
from b2t_fairseq.common.machine import busy, check_device, machine
from b2t_fairseq.models.methods import add_code_options

from . import cases as all_cases
from . import report
from .cases import Case
from .compare import best_speed, compare
from .sides import Side, SideFailed

EPILOG = """CASE is a name, the beginning of names (train, train-18-18, decode) or a pattern ('train-*-fused'); --list
prints them. A method of yours is growth-connection-NAME, with --connection-module; a fairseq architecture is
growth-connection-arch:NAME, and the model of a checkpoint checkpoint:FILE, against Post-LN of its sizes. Without CASE:
{default}. Pairs of figures are ours / what it is compared with; a ratio above 1 is faster. Ctrl-C keeps the cases that
are finished."""


def parser() -> Parser:
    """Make the parser."""
    default = ", ".join(all_cases.DEFAULT)
    options = Parser(
        "python -m benchmarks",
        description="Ours against stock fairseq, in turns.",
        epilog=EPILOG.format(default=default),
    )
    options.add_argument("cases", nargs="*", metavar="CASE", help="what to measure (default: a short set); see below")
    options.add_argument("--all", action="store_true", help="every case; takes hours")
    options.add_argument("--list", action="store_true", help="print the cases and stop")
    options.add_argument("--repeats", type=positive, default=7, help="pairs of measurements (default: 7)")
    options.add_argument(
        "--warmup", type=not_negative, default=3, help="measurements of each side that do not count (default: 3)"
    )
    options.add_argument("--threads", type=positive, default=os.cpu_count(), help="default: all cores")
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    options.add_argument("--json", metavar="FILE", help="also write everything measured")
    options.add_argument("--markdown", metavar="FILE", help="also write the table")
    add_code_options(options.add_argument)
    return options


def main(arguments: Sequence[str] | None = None, cases: dict[str, Case] = all_cases.CASES) -> int:
    """Measure, print, write; return the exit status.

    Raises:
        UserError: no such case, or a file cannot be written.
    """
    given = parser().parse_args(arguments)
    cases = all_cases.with_own(cases, given.cases)
    wanted = list(cases) if given.all else given.cases or all_cases.DEFAULT
    chosen, unknown = all_cases.select(wanted, cases)
    if unknown:
        raise UserError(f"no case is called {', '.join(unknown)}: --list prints the names")
    if given.list:
        print("\n".join(case.name for case in (chosen if given.cases else cases.values())))
        return 0
    check_device(given.device)
    for option in ("json", "markdown"):
        if path := getattr(given, option):
            check_writable(path, f"--{option}")
    return measure_all(chosen, given)


def measure_all(chosen: list[Case], given: argparse.Namespace) -> int:
    """Measure one case after the other, writing each at once; return 1 if a case failed, 130 on Ctrl-C, else 0."""
    facts, results, peaks, status = machine(given.threads, given.device), {}, {}, 0
    unwritten: Exception | None = None
    if warning := busy(facts):
        print(f"warning: {warning}", file=sys.stderr)
    steps = len(chosen) * 2 * (given.warmup + given.repeats)
    with tqdm(total=steps, file=sys.stderr) as bar:
        try:
            for done, case in enumerate(chosen, 1):
                bar.set_description(case.name)
                try:
                    results[case.name] = measure(case, given, peaks, bar)
                except SideFailed as failure:
                    results[case.name], status = {"failed": str(failure)}, 1
                bar.update(done * steps // len(chosen) - bar.n)
                report.write_all(results, facts, given.json, given.markdown)
        except KeyboardInterrupt:
            status = 130
        except (UserError, OSError) as error:  # no space, say: what is finished is printed first
            unwritten = error
    print(report.table(results), report.about(facts), sep="\n\n")
    if status == 130:
        print(f"interrupted: {len(results)} of {len(chosen)} cases were finished", file=sys.stderr)
    if unwritten is not None:
        raise unwritten
    return status


def measure(case: Case, given: argparse.Namespace, peaks: dict, bar: tqdm) -> dict:
    """Return a case's figures. `peaks` remembers the speed of the matrix products, in GFLOP/s, by shapes and type."""
    conditions = {"threads": given.threads, "device": given.device}
    result = compare(
        case.ours, case.baseline, given.repeats, given.warmup, **conditions, after_each=bar.update
    ).summary()
    for name, side, dtype in (("ours", case.ours, case.dtype), ("baseline", case.baseline, "float32")):
        result[name]["name"] = side.name
        if not case.shapes:
            continue
        key = case.shapes, dtype
        if key not in peaks:
            alone = Side("products", "products", {"shapes": case.shapes, "dtype": dtype}, plugin=False)
            peaks[key] = best_speed(alone, **conditions)
        figures = result[name]
        figures["gemm_peak"] = peaks[key]
        figures["of_gemm_peak"] = 6 * figures["parameters"] * figures["tokens_per_second"] / (peaks[key] * 1e9)
    return result
