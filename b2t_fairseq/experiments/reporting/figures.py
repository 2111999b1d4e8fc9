"""The figures that are drawn from rows: losses against updates and against depth, the scores of all methods."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...analysis import style
from ..rows import Row

NLL = "NLL (bits per token)"


def mean_curve(rows: Sequence[Row], kind: str) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return updates, and the mean, lowest and highest value over the seeds, where all of them have one."""
    curves = [{update: value for update, value in row["curve"].get(kind, []) if value is not None} for row in rows]
    updates = sorted(set.intersection(*map(set, curves))) if curves else []
    values = [[curve[update] for curve in curves] for update in updates]
    means = [sum(column) / len(column) for column in values]
    return updates, means, [min(column) for column in values], [max(column) for column in values]


def draw_curves(groups: Mapping[str, Sequence[Row]], kinds: Sequence[str], level: float | None, path: Path) -> None:
    """Draw a panel for each kind of curve, a line for each connection: the mean over seeds, with their range.

    Args:
        groups: connection -> its rows, one a seed.
        kinds: "train", "valid".
        level: the unigram level, drawn as a line; None if it is not known.
        path: of the SVG.
    """
    names = {"train": "training", "valid": "validation"}
    size = (4.6 * max(len(kinds), 1.3), 3.8)
    with style.drawn(path, 1, len(kinds), size, sharey=True) as (figure, (panels,)):
        for axis, kind in zip(panels, kinds, strict=True):
            for connection, rows in groups.items():
                updates, means, lowest, highest = mean_curve(rows, kind)
                line = style.line(connection)
                axis.plot(updates, means, label=style.label(connection), markevery=max(1, len(updates) // 8), **line)
                if len(rows) > 1:
                    axis.fill_between(updates, lowest, highest, color=line["color"], alpha=0.18, linewidth=0)
            draw_level(axis, level)
            axis.set(title=f"{names[kind]} loss", xlabel="updates")
        panels[0].set_ylabel(NLL)
        style.legend_below(figure)


def draw_level(axis: Any, level: float | None) -> None:
    """Draw the unigram level, if it is known."""
    if level is not None:
        axis.axhline(level, color="#777777", linewidth=1, linestyle=":")
        where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        axis.annotate("unigram", (1, level), color="#555555", fontsize=9, **where)


def best_loss(row: Row) -> float:
    """Return the best validation loss of a row, in bits per token; NaN if it has none."""
    losses = [value for _, value in row["curve"].get("valid", []) if value is not None]
    return min(losses, default=math.nan)


def draw_depths(rows: Iterable[Row], level: float | None, path: Path) -> None:
    """Draw the best validation loss against the total number of layers, a line for each connection."""
    points: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        total = sum(map(int, row["layers"].split("-")))
        points.setdefault(row["connection"], {}).setdefault(total, []).append(best_loss(row))
    with style.drawn(path, size=(6, 3.8)) as (figure, ((axis,),)):
        for connection, by_depth in points.items():
            depths = sorted(by_depth)
            means = [sum(by_depth[depth]) / len(by_depth[depth]) for depth in depths]
            axis.plot(depths, means, label=style.label(connection), **style.line(connection))
        draw_level(axis, level)
        axis.set(xlabel="layers of encoder and decoder together", ylabel="best validation loss\n(bits per token)")
        axis.set_xticks(sorted({depth for by_depth in points.values() for depth in by_depth}))
        style.legend_below(figure)


def draw_gradients_by_depth(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Draw the gradient norm of the last layer's FFN weights against depth, with a line that falls as 1/sqrt(L)."""
    points: dict[str, dict[int, float]] = {}
    for record in records:
        depth = int(str(record["layers"]).split("-")[-1])
        is_whole = record.get("weights", "fc1+fc2") == "fc1+fc2"
        if is_whole and record["side"] == "decoder" and record["layer"] == depth:
            points.setdefault(record["connection"], {})[depth] = record["value"]
    with style.drawn(path, size=(6, 3.8)) as (figure, ((axis,),)):
        for connection, by_depth in points.items():
            depths = sorted(by_depth)
            values = [by_depth[depth] for depth in depths]
            axis.plot(depths, values, label=style.label(connection), **style.line(connection))
        if "pre" in points:
            depths = sorted(points["pre"])
            falls = [points["pre"][depths[0]] * math.sqrt(depths[0] / depth) for depth in depths]
            axis.plot(depths, falls, color="#777777", linewidth=1, linestyle=":", label="falling as 1/√L")
        axis.set(xlabel="layers of each stack, L", ylabel="gradient norm, FFN weights\nof the last decoder layer")
        axis.set(xscale="log", yscale="log")
        ticks = sorted({depth for by_depth in points.values() for depth in by_depth})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        style.legend_below(figure)
