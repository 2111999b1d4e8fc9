"""What a check leaves: a Markdown report, and the same as JSON."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from ...common.files import write_atomically
from .bench import Figure

OK, FAILED, NOT_RUN = "ok", "FAILED", "not run"
TITLES = {
    "numbers": "Outputs, gradients and incremental decoding of every connection",
    "decoding": "Beam search",
    "training": "fairseq's trainer in every precision",
    "recompute": "Activation checkpointing",
    "compile": "Compiled layers",
    "fused": "Fused Adam and criterion",
    "commands": "The commands, from training to translation",
    "workers": "Two workers against one",
    "calls": "Operator calls, ours against stock",
    "memory": "Peak memory against the cost model's estimate",
    "speed": "Speed, ours against stock",
}
LEGEND = """\
`numbers`, `decoding`, `training`: against float32 on the CPU, as ||x - reference|| / ||reference|| or as a relative
difference; in half precision the reference of `numbers` has the same rounded weights. `(<= ...)` is the largest value
that counts as right."""


class Outcome(NamedTuple):
    """What came of a case.

    Attributes:
        check, case: its names.
        outcome: one of "ok", "FAILED", "not run".
        figures: what was measured.
        text: why it failed or was not run.
        seconds: how long it took.
    """

    check: str
    case: str
    outcome: str
    figures: list[Figure]
    text: str
    seconds: float


def write(folder: Path, facts: dict[str, Any], outcomes: list[Outcome], planned: int) -> None:
    """Write REPORT.md and report.json.

    Args:
        folder: where.
        facts: of the machine.
        outcomes: of the cases that are finished.
        planned: how many cases there are.
    """
    rows = [{**o._asdict(), "figures": [figure_as_json(f) for f in o.figures]} for o in outcomes]
    content = {"machine": facts, "planned": planned, "cases": rows}
    write_atomically(folder / "report.json", json.dumps(content, indent=1) + "\n")
    write_atomically(folder / "REPORT.md", markdown(facts, outcomes, planned))


def figure_as_json(figure: Figure) -> dict[str, Any]:
    """Return a figure as JSON holds it: a number that is not finite as its name."""
    value = figure.value if math.isfinite(figure.value) else str(figure.value)
    return {**figure._asdict(), "value": value}


def summary(outcomes: list[Outcome]) -> str:
    """Return how many cases are right: "130 ok, 2 FAILED"."""
    counted = Counter(outcome.outcome for outcome in outcomes)
    return ", ".join(f"{counted[kind]} {kind}" for kind in (OK, FAILED, NOT_RUN) if counted[kind])


def markdown(facts: dict[str, Any], outcomes: list[Outcome], planned: int) -> str:
    """Return the report: the machine, what failed, and a table for each check."""
    seconds, left = sum(outcome.seconds for outcome in outcomes), planned - len(outcomes)
    unfinished = f"; **{left} of {planned} cases are not finished**" if left else ""
    lines = [f"# Device check: {facts['name']}", "", f"{summary(outcomes)}; {seconds:.0f} s{unfinished}", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items() if value is not None]
    if failed := [outcome for outcome in outcomes if outcome.outcome == FAILED]:
        lines += ["", "## Failed", "", *table(failed)]
    for check, title in TITLES.items():
        if rows := [outcome for outcome in outcomes if outcome.check == check]:
            lines += ["", f"## {title}", "", *table(rows)]
    return "\n".join([*lines, "", LEGEND, ""])


def table(rows: list[Outcome]) -> list[str]:
    """Return a table of outcomes."""
    lines = ["| case | | figures | s |", "| --- | --- | --- | ---: |"]
    for row in rows:
        said = "; ".join([*map(shown, row.figures), *([row.text] if row.text else [])])
        lines.append(f"| {row.check}: {row.case} | {row.outcome} | {said} | {row.seconds:.1f} |")
    return lines


def shown(figure: Figure) -> str:
    """Return a figure in a few words."""
    number = lambda x: f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"  # noqa: E731
    limit = "" if figure.most is None else f" (<= {number(figure.most)})"
    return f"{figure.name} {number(figure.value)}{limit}{' ' if figure.unit else ''}{figure.unit}"
