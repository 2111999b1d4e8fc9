"""Check this machine's GPU (or CPU): every connection and precision against float32, memory, operator calls, speed.

    b2t-fairseq device-check --device cuda [--output device-check]

Takes at most 15 minutes and needs no data. It writes REPORT.md, to read or to attach to an issue, and report.json,
again after each case: Ctrl-C keeps what is done. The exit status is 1 if something is not as it should be.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ...common import machine
from ...common.command_line import Parser, positive
from ...common.errors import UserError
from ...connections import CONNECTIONS
from ...models import methods
from . import costs, numbers, report, training
from .bench import Case, NotRun, Settings
from .report import FAILED, NOT_RUN, OK, Outcome

#: device -> width, depths and tokens of the models whose speed is measured
SPEEDS = {"cuda": (512, ("6-6", "18-18"), 4096), "cpu": (128, ("6-6",), 512)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(prog="b2t-fairseq device-check", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), help="default: cuda where there is a GPU")
    add("--connections", metavar="A,B", help=f"which: {methods.METHODS} (default: all connections)")
    methods.add_code_options(add)
    add("--checks", metavar="A,B", help=f"which of {', '.join(report.TITLES)} (default: all)")
    add("--pairs", type=positive, default=7, metavar="N", help="measurements of each speed (default: %(default)s)")
    add("--output", default="device-check", metavar="DIR", help="where the report goes (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.connections = methods.parse_methods(options.connections or ",".join(CONNECTIONS), "--connections")
    options.checks = options.checks.split(",") if options.checks else list(report.TITLES)
    if unknown := [check for check in options.checks if check not in report.TITLES]:
        raise UserError(f"--checks {unknown[0]}: choose from {', '.join(report.TITLES)}")
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    machine.check_device(options.device)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, write the report; return 1 if one of them failed."""
    from tqdm import tqdm

    given = parse(arguments)
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    facts, outcomes = about(given.device), []
    with tempfile.TemporaryDirectory() as files, tqdm(total=0, unit="case", desc="device-check") as bar:
        width, depths, tokens = SPEEDS[given.device]
        settings = Settings(given.device, tuple(given.connections), Path(files), given.pairs, width, depths, tokens)
        cases = [case for case in all_cases(settings) if case.check in given.checks]
        bar.reset(total=len(cases))
        for case in cases:
            bar.set_postfix_str(f"{case.check}: {case.name}")
            outcomes.append(outcome_of(case))
            if outcomes[-1].outcome == FAILED:
                bar.write(report.table(outcomes[-1:])[-1])
            report.write(folder, facts, outcomes, len(cases))
            bar.update()
    print(f"{report.summary(outcomes)}; written: {folder / 'REPORT.md'}, {folder / 'report.json'}")
    return int(any(outcome.outcome == FAILED for outcome in outcomes))


def all_cases(settings: Settings) -> Iterator[Case]:
    """Yield all cases."""
    return itertools.chain(numbers.cases(settings), training.cases(settings), costs.cases(settings))


def outcome_of(case: Case) -> Outcome:
    """Run a case; whatever goes wrong in it is its outcome."""
    began, figures, text = time.perf_counter(), [], ""
    try:
        figures = case.run()
        outcome = OK if all(figure.is_right for figure in figures) else FAILED
    except NotRun as reason:
        outcome, text = NOT_RUN, str(reason)
    except Exception as error:
        outcome, text = FAILED, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if os.environ.get("B2T_TRACEBACK"):
            raise
    return Outcome(case.check, case.name, outcome, figures, text, time.perf_counter() - began)


def about(device: str) -> dict[str, Any]:
    """Return the machine's facts, the GPU's among them."""
    facts = machine.machine(torch.get_num_threads(), device)
    if device == "cpu":
        return {"name": facts["cpu"], **facts}
    gpu = torch.cuda.get_device_properties(0)
    return {
        "name": gpu.name,
        "GPUs": torch.cuda.device_count(),
        "memory of one": f"{gpu.total_memory / 2**30:.0f} GiB",
        "compute capability": f"{gpu.major}.{gpu.minor}",
        "CUDA": torch.version.cuda,
        **facts,
    }
