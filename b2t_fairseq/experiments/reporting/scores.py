"""The tables of scores: ours, whether a training flattened, and the published numbers beside them."""

import statistics
from collections.abc import Iterable, Sequence

from ...analysis import style
from .. import findings
from ..published import FAILED, MISSING, PublishedRow, Target
from ..rows import Row
from ..tasks import TASKS
from . import figures
from .document import Table

PUBLISHED = {FAILED: "training failed", MISSING: "not in our copy"}


def score_table(target: Target, rows: Sequence[Row], models: Sequence[tuple[str, str]]) -> Table:
    """Return a line for each method and depth: ours, whether it trained, and the published scores."""
    metrics = TASKS[target.task].metrics
    tests = list(dict.fromkeys(test for row in rows for test in row["scores"]))
    columns = [(test, metric) for test in tests for metric in metrics]
    head = ["method", "layers", "seeds", *(f"{metric} {test}" for test, metric in columns), "valid loss, bits"]
    lines = []
    for connection, layers in models:
        mine = [row for row in rows if (row["connection"], row["layers"]) == (connection, layers)]
        if not mine:
            continue
        published = [row for row in target.rows if (row.connection, row.layers) == (connection, layers)]
        line = [style.label(connection), layers, str(len(mine))]
        line += [spread(score_of(row, test, metric) for row in mine) for test, metric in columns]
        line += [spread(figures.best_loss(row) for row in mine), training_of(mine)]
        lines.append([*line, *published_cells(target, published[0] if published else None)])
    return Table([*head, "training", *published_head(target)], lines)


def score_of(row: Row, test: str, metric: str) -> float | None:
    """Return a row's score; None if it has none."""
    return row["scores"].get(test, {}).get(metric, {}).get("score")


def published_head(target: Target) -> list[str]:
    """Return the heads of the published columns."""
    if not target.rows:
        return []
    has_one_metric = len({metric for metric, _ in target.columns}) == 1
    names = [f"paper: {test.removeprefix('newstest') if has_one_metric else metric}" for metric, test in target.columns]
    return [*names, *(["paper: mean"] if any(row.mean is not None for row in target.rows) else [])]


def published_cells(target: Target, row: PublishedRow | None) -> list[str]:
    """Return the published columns of a row."""
    width = len(published_head(target))
    cells: list[str] = []
    if row is not None:
        cells = [PUBLISHED[row.scores]] if isinstance(row.scores, str) else [f"{score:.2f}" for score in row.scores]
        cells += [f"{row.mean:.2f}"] if row.mean is not None else []
    return [*cells, *[""] * (width - len(cells))]


def spread(values: Iterable[float | None]) -> str:
    """Return mean ± standard deviation; a dash where there is no number."""
    numbers = [value for value in values if value is not None and value == value]
    if not numbers:
        return "–"
    text = f"{statistics.mean(numbers):.2f}"
    return f"{text} ± {statistics.stdev(numbers):.2f}" if len(numbers) > 1 else text


def training_of(rows: Sequence[Row]) -> str:
    """Return how the trainings ended: failed, flattened or still falling, with the seeds where they differ."""
    failed = sum(row["failure"] is not None for row in rows)
    flat = sum(findings.has_flattened(row) for row in rows if row["failure"] is None)
    counts = {"training failed": failed, "flattened": flat, "still falling": len(rows) - failed - flat}
    present = {word: count for word, count in counts.items() if count}
    if len(present) == 1:
        return next(iter(present))
    return ", ".join(f"{word} in {count}" for word, count in present.items())


def signatures(rows: Iterable[Row]) -> str:
    """Return the metrics' signatures, each once, without the counts that differ from cell to cell."""
    found = {
        f"`{metric}: {score['signature'].rpartition('] ')[2]}`"
        for row in rows
        for named in row["scores"].values()
        for metric, score in named.items()
    }
    return "; ".join(sorted(found))
