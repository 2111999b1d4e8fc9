"""Figures of probe records, in the paper's form: nothing is measured here.

A series is what has one line or one row of panels: a connection, and its depth, its number of updates or its
checkpoint where the records have several. Of several seeds the mean is drawn, and a band from the least to the most.
"""

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from . import style

Records = Sequence[dict[str, Any]]
SIDES = ("encoder", "decoder")
WHAT = {
    "gradients": "‖∂loss/∂output‖ (nats)",
    "ffn-gradients": "‖∂loss/∂FFN weights‖ (nats)",
    "growth": "variance of output",
}


def gradients(records: Records, path: str | Path) -> None:
    """Draw the norm of each layer's gradient (figure 3): encoder and decoder, logarithmic, a line for each series."""
    records = only(records, "gradients", "ffn-gradients")
    if any(record["probe"] == "ffn-gradients" for record in records):
        records = [record for record in records if record.get("weights") == "fc1+fc2"]
    per_layer(records, path, WHAT[records[0]["probe"]])


def growth(records: Records, path: str | Path) -> None:
    """Draw the variance of each layer's output: encoder and decoder, logarithmic, a line for each series."""
    per_layer(only(records, "growth"), path, WHAT["growth"])


def growth_over_training(records: Records, path: str | Path) -> None:
    """Draw the variance of the top layer's output against updates: encoder and decoder, a line for each series."""
    records = only(records, "growth")
    tops = {(r["connection"], r["layers"], r["side"]): 0 for r in records}
    for r in records:
        place = r["connection"], r["layers"], r["side"]
        tops[place] = max(tops[place], r["layer"])
    # the update is a place on the axis here, not another series
    records = [
        {**r, "update": None, "at": r["update"]}
        for r in records
        if r["layer"] == tops[r["connection"], r["layers"], r["side"]]
    ]
    sides = sides_of(records)
    size = (7.0 if len(sides) > 1 else 5.0, height_for(records))
    with style.drawn(path, 1, len(sides), size) as (figure, (panels,)):
        for axis, side in zip(panels, sides, strict=True):
            draw_lines(axis, [record for record in records if record["side"] == side], of=lambda record: record["at"])
            axis.set(title=side, yscale="log", xlabel="updates")
        panels[0].set_ylabel(f"{WHAT['growth']}, top layer")
        style.legend_below(figure)


def points(records: Records, path: str | Path, layers: Collection[int] | None = None) -> None:
    """Draw the gradient's norm at the five points of decoder layers, from (5) to (1): figures 4 and 7.

    Args:
        records: those of `points`.
        path: where the figure goes.
        layers: which layers, a panel each; default all that the records have.
    """
    records = [r for r in only(records, "points") if layers is None or r["layer"] in layers]
    if not records:
        raise UserError(f"{path}: there are no points of the layers {layers}")
    numbers = sorted({record["layer"] for record in records})
    size = (max(5.0, 2.1 * len(numbers) + 0.8), height_for(records))
    with style.drawn(path, 1, len(numbers), size, sharey=True) as (figure, (panels,)):
        for axis, number in zip(panels, numbers, strict=True):
            here = [record for record in records if record["layer"] == number]
            draw_lines(axis, here, of=lambda record: -record["point"])
            axis.set(title=f"decoder layer {number}", xlabel="point", yscale="log")
            at = sorted({-record["point"] for record in here})
            axis.set_xticks(at, [f"({-place})" for place in at])
        panels[0].set_ylabel("‖∂loss/∂tensor‖ (nats)")
        style.legend_below(figure)


def similarity(records: Records, path: str | Path) -> None:
    """Draw the similarity of all pairs of layers (figure 5): a heat map for each side and series, one scale."""
    records = only(records, "similarity")
    sides, names = sides_of(records), series_of(records)
    least = min([0.0, *(record["value"] for record in records if record["value"] is not None)])
    size = (max(3.4, 2.2 * len(names) + 0.8), 2.3 * len(sides) + 0.5)
    with style.drawn(path, len(sides), len(names), size) as (figure, panels):
        for row, side in zip(panels, sides, strict=True):
            for axis, (key, name) in zip(row, names.items(), strict=True):
                mine = [r for r in records if r["side"] == side and key_of(r) == key]
                picture = axis.imshow(matrix(mine), vmin=least, vmax=1, cmap="viridis", origin="lower")
                axis.set(title=name if side == sides[0] else "")
                label_layers(axis, max(record["layer"] for record in mine))
                axis.set_xlabel("layer" if side == sides[-1] else "")
            row[0].set_ylabel(f"{side} layer")
        figure.colorbar(picture, ax=panels, label="cosine similarity", shrink=0.9)


def weights(records: Records, path: str | Path) -> None:
    """Draw DLCL's combination as heat maps, or Admin's omega as lines."""
    records = only(records, "weights")
    if "other" not in records[0]:
        per_layer([r for r in records if r["sublayer"] == "FF"], path, "mean ω before feed-forward")
        return
    if len(series_of(records)) > 1:
        raise UserError(f"{path}: a figure of DLCL's weights shows one model: give one checkpoint")
    stacks = {}
    for side in sides_of(records):
        mine = [record for record in records if record["side"] == side]
        depth = max(record["layer"] for record in mine)
        stacks[side] = [[0.0] * depth for _ in range(depth)]
        for record in mine:
            stacks[side][record["layer"] - 1][record["other"]] = record["value"]
    combinations(stacks, path)


def combinations(stacks: dict[str, list[list[float]]], path: str | Path) -> None:
    """Draw W of each stack, rows l and columns k."""
    limit = max(abs(value) for weight in stacks.values() for row in weight for value in row)
    with style.drawn(path, 1, len(stacks), (4.4 * len(stacks), 3.8)) as (figure, (panels,)):
        for axis, (name, weight) in zip(panels, stacks.items(), strict=True):
            picture = axis.imshow(weight, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.set(title=f"DLCL, {name}", xlabel="output of layer k (0: embedding)", ylabel="input of layer l + 1")
            style.layer_axis(axis, axis.get_xlabel())
            axis.grid(False)
            figure.colorbar(picture, ax=axis)


DRAW: dict[str, Callable[[Records, str | Path], None]] = {
    "gradients": gradients,
    "ffn-gradients": gradients,
    "points": points,
    "similarity": similarity,
    "growth": growth,
    "weights": weights,
}


def per_layer(records: Records, path: str | Path, what: str) -> None:
    """Draw values against layers: a panel for each side, a line for each series."""
    sides = sides_of(records)
    size = (7.0 if len(sides) > 1 else 5.0, height_for(records))
    with style.drawn(path, 1, len(sides), size) as (figure, (panels,)):
        for axis, side in zip(panels, sides, strict=True):
            draw_lines(axis, [record for record in records if record["side"] == side])
            axis.set(title=side, yscale="log")
            style.layer_axis(axis)
        panels[0].set_ylabel(what)
        style.legend_below(figure)


def draw_lines(axis: Any, records: Records, of: Callable[[dict], float] = lambda record: record["layer"]) -> None:
    """Draw a line for each series; of several seeds the mean and the range."""
    names = series_of(records)
    shades = {key: shade(i, len(names)) for i, key in enumerate(names)}
    several = len({key[0] for key in names}) < len(names)
    for key, name in names.items():
        places: dict[float, list[float]] = {}
        for record in records:
            if key_of(record) == key and record["value"] is not None:
                places.setdefault(of(record), []).append(record["value"])
        if not places:
            continue
        x = sorted(places)
        look = style.line(key[0]) | ({"alpha": shades[key]} if several else {})
        spacing = max(1, len(x) // 9)
        axis.plot(x, [sum(places[i]) / len(places[i]) for i in x], label=name, markevery=spacing, **look)
        if any(len(values) > 1 for values in places.values()):
            least, most = ([edge(places[i]) for i in x] for edge in (min, max))
            axis.fill_between(x, least, most, color=look["color"], alpha=0.15, linewidth=0)


def height_for(records: Records) -> float:
    """Return the height of a row of panels with the legend below, in inches."""
    return 3.3 + 0.25 * math.ceil(len(series_of(records)) / 3)


def shade(i: int, count: int) -> float:
    """Return how opaque the i-th of several series is: of one connection the later ones are darker."""
    return 0.4 + 0.6 * (i + 1) / count


def only(records: Records, *probes: str) -> list[dict[str, Any]]:
    """Return the records of these probes.

    Raises:
        UserError: there are none.
    """
    found = [record for record in records if record["probe"] in probes]
    if not found:
        raise UserError(f"there are no records of {' or '.join(probes)} to draw")
    return found


def key_of(record: dict[str, Any]) -> tuple:
    """Return what a record's series is, whatever its seed."""
    return tuple(record.get(name) for name in ("connection", "options", "layers", "update", "path"))


def series_of(records: Records) -> dict[tuple, str]:
    """Return the series in the order of the records, and their labels, which say what they differ in."""
    keys = list(dict.fromkeys(map(key_of, records)))
    names = {}
    for key in keys:
        connection, options, layers, update, path = key
        alike = [other for other in keys if other[0] == connection]
        _, by_options, by_layers, by_update, by_path = (len(set(values)) > 1 for values in zip(*alike, strict=True))
        by_layers = len({other[2] for other in keys}) > 1  # also where each connection has one depth of its own
        parts = [style.label(connection)]
        parts += [options or "defaults"] * by_options + [layers] * by_layers
        parts += [f"{update:,} updates"] if by_update else []
        parts += [Path(path or "").stem] * (by_path and not by_update)
        names[key] = ", ".join(parts)
    return names


def sides_of(records: Records) -> list[str]:
    """Return the sides that there are records of, the encoder first."""
    return [side for side in SIDES if any(record["side"] == side for record in records)]


def matrix(records: Records) -> list[list[float]]:
    """Return the similarities of one stack as a symmetric matrix; the mean over seeds."""
    depth = max(record["other"] for record in records)
    cells: dict[tuple[int, int], list[float]] = {}
    for record in records:
        for place in {(record["layer"], record["other"]), (record["other"], record["layer"])}:
            cells.setdefault(place, []).append(math.nan if record["value"] is None else record["value"])
    mean = {place: sum(values) / len(values) for place, values in cells.items()}
    return [[mean[i, j] for j in range(1, depth + 1)] for i in range(1, depth + 1)]


def label_layers(axis: Any, depth: int) -> None:
    """Write some layers' numbers beside a heat map."""
    step = max(1, -(-depth // 6))
    numbers = list(range(1, depth + 1, step))
    axis.set_xticks([number - 1 for number in numbers], numbers)
    axis.set_yticks([number - 1 for number in numbers], numbers)
    axis.grid(False)
