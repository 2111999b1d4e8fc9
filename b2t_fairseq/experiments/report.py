"""The table, the loss curves and the machine-readable results of the trainings that were run side by side."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..analysis import style
from ..common.files import replacing, write_atomically
from ..common.optional import require
from ..evaluation.score import Score, line
from .jobs.progress import History


@dataclass
class Row:
    """One row of the table: a trained connection, or a baseline, which has no parameters; scores by test and metric."""

    name: str
    signature: str = ""
    parameters: int | None = None
    train_perplexity: float | None = None
    valid_perplexity: float | None = None
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    failure: str | None = None
    checkpoint: str = ""


#: a metric and the data set it was measured on
Column = tuple[str, str]


def table(rows: Sequence[Row], columns: Sequence[Column], shows_log: bool = True) -> str:
    """Write the rows as a Markdown table whose columns are aligned, so that it reads well on a terminal, too."""
    head = ["connection", "parameters", *(["train ppl", "valid ppl"] if shows_log else [])]
    head += [f"{metric} {test}" for metric, test in columns]
    body = []
    for row in rows:
        log = [perplexity(row.train_perplexity), perplexity(row.valid_perplexity)] if shows_log else []
        parameters = "–" if row.parameters is None else f"{row.parameters:,}"
        body.append([row.name, parameters, *log, *(cell(row, column) for column in columns)])
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]

    def drawn(cells: Sequence[str]) -> str:
        name, *others = zip(cells, widths, strict=True)
        padded = [name[0].ljust(name[1]), *(text.rjust(width) for text, width in others)]
        return f"| {' | '.join(padded)} |"

    first, *others = widths
    rule = "|" + "-" * (first + 2) + "|" + "".join("-" * (width + 1) + ":|" for width in others)
    return "\n".join([drawn(head), rule, *map(drawn, body)])


def perplexity(value: float | None) -> str:
    """Write a perplexity; what is not a number is said so."""
    if value is None:
        return "–"
    return "NaN" if math.isnan(value) else f"{value:,.1f}"


def cell(row: Row, column: Column) -> str:
    """Return a score, or why there is none."""
    metric, test = column
    if test in row.scores:
        return f"{row.scores[test][metric].score:.2f}"
    if row.failure is None:
        return "–"
    return "training failed" if row.failure.startswith("train") else "failed"


def signatures(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Write one line for each score, complete enough to be compared elsewhere."""
    return "\n".join(
        line(metric, row.scores[test][metric], test, row.checkpoint, row.signature)
        for row in rows
        for metric, test in columns
        if test in row.scores
    )


def draw_curves(histories: Mapping[str, History], path: Path, title: str) -> None:
    """Draw training and validation curves of all runs, colour by run, in one PNG."""
    require("matplotlib", "plots", "curves").use("Agg")
    pyplot = require("matplotlib.pyplot", "plots", "curves")
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for name, history in histories.items():
        for axis, curve, mark in ((axes[0], history.train, ""), (axes[1], history.valid, ".")):
            points = sorted(curve.items())
            look = {"color": style.colour(name), "label": style.label(name)}
            axis.plot([x for x, _ in points], [y for _, y in points], marker=mark, linewidth=1.4, **look)
    for axis, name in zip(axes, ("training", "validation"), strict=True):
        axis.set(title=f"{name}, {title}", xlabel="updates", ylabel="negative log-likelihood (bits per token)")
        axis.grid(alpha=0.3)
        if histories:
            axis.legend()
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    pyplot.close(figure)


def by_name(scores: Mapping[str, Mapping[str, Score]]) -> dict:
    """Turn scores into plain dictionaries."""
    return {test: {metric: score._asdict() for metric, score in metrics.items()} for test, metrics in scores.items()}


def write_results(
    path: Path, rows: Sequence[Row], histories: Mapping[str, History], settings: Mapping, seconds: Mapping[str, float]
) -> None:
    """Write everything the table and the figure show, as JSON (a number that is NaN becomes null)."""

    def clean(value):
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, Mapping):
            return {str(key): clean(inner) for key, inner in value.items()}
        return [clean(inner) for inner in value] if isinstance(value, list | tuple) else value

    results = {
        "settings": settings,
        "rows": [{**asdict(row), "scores": by_name(row.scores)} for row in rows],
        "curves": {name: {"train": history.train, "valid": history.valid} for name, history in histories.items()},
        "seconds": seconds,
    }
    write_atomically(path, json.dumps(clean(results), indent=1, ensure_ascii=False) + "\n")
