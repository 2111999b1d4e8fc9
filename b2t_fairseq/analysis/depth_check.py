"""Depth and stability of the connections: gradients and variances at initialisation, the loss over a few updates.

    b2t-fairseq depth-check [--connections post,pre,b2t] [--output runs/depth]

For every connection at 6-6 and 18-18 (100 updates) and 50-50 (30 updates), narrow: the Frobenius norm of the gradient
of the loss with respect to each layer's output and the variance of that output over the positions that are not padding,
both before the first update (`probes.py`), and the loss (nats per token) over the updates. One JSON line a model, a
table and a figure; what is there already is not computed again. At most 20 minutes on 2 cores; one seed.
"""

import argparse
import itertools
import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..common import processes
from ..common.command_line import Parser, guarded, positive
from ..common.files import append_record, locked, read_records, write_atomically
from ..connections import CONNECTIONS
from ..models import methods
from . import probes, style
from .batches import PAD, make_batches, read_pairs
from .fresh import build, check_layers, settle
from .probes import mean_nll

UPDATES = {"6-6": 100, "18-18": 100, "50-50": 30}
TOKENS = 256
WARMUP = 40
LEARNING_RATE = 1e-3
KINDS = {"gradients": "gradient", "growth": "variance"}  # probe -> its name in the results


LEGEND = """\
grad 1/L: norm of the gradient at the first layer's output over that at the last layer's, before training; far below 1
it vanishes on its way down. var: variance of the first and last layer's output without padding. last loss: mean of the
last 10 updates, nats per token"""
#: (connection, layers) -> what was measured
Results = dict[tuple[str, str], dict[str, Any]]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(prog="b2t-fairseq depth-check", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--connections", metavar="A,B", help=f"which: {methods.METHODS} (default: all connections)")
    methods.add_code_options(add)
    add("--layers", default=",".join(UPDATES), metavar="N-M,…", help="which depths (default: %(default)s)")
    add("--updates", type=positive, metavar="N", help="updates at every depth (default: 100, at 50-50 30)")
    add("--width", type=positive, default=32, help="model width; FFN 4 times, 4 heads or more (default: %(default)s)")
    add("--seed", type=int, default=1)
    add("--data", metavar="DIR", help="parallel text (default: $B2T_DATA/multi30k if set, else the embedded corpus)")
    add("--output", default="runs/depth", metavar="DIR", help="where results go (default: %(default)s)")
    add("--jobs", type=positive, default=min(2, os.cpu_count() or 1), help="processes (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.connections = methods.parse_methods(options.connections or ",".join(CONNECTIONS), "--connections")
    options.layers = options.layers.split(",")
    for layers in options.layers:
        check_layers(layers)
    if options.data is None and os.environ.get("B2T_DATA"):
        options.data = str(Path(os.environ["B2T_DATA"]) / "multi30k")
    return options


def at_initialisation(model: nn.Module, sample: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Measure per side and layer the norm of the gradient at its output and the output's variance (`probes.py`)."""
    result: dict[str, dict[str, list[float]]] = {}
    for record in probes.measure(model, sample, list(KINDS)):
        side = result.setdefault(record["side"], {kind: [] for kind in KINDS.values()})
        side[KINDS[record["probe"]]].append(math.nan if record["value"] is None else record["value"])
    return result


def learning_rate(connection: str, update: int) -> float:
    """Return linear warm-up, then inverse square root; for T-Fixup, which has no warm-up, its own schedule."""
    if connection == "tfixup":
        return LEARNING_RATE / 2 * (4000 / (4000 + update)) ** 0.5
    return LEARNING_RATE * min((update + 1) / WARMUP, (WARMUP / (update + 1)) ** 0.5)


def examine(
    connection: str, layers: str, updates: int, width: int, seed: int, data: str | None, _: str = ""
) -> dict[str, Any]:
    """Measure one model at initialisation, then train it; the last setting is the key of the user's code."""
    torch.set_num_threads(1)
    logging.getLogger("b2t_fairseq").setLevel(logging.WARNING)  # the signatures are in the results
    words, batches = make_batches(read_pairs(data), TOKENS)
    model = build(connection, layers, width, seed, words)
    settle(model, batches[0])
    result = {"signature": getattr(model, "signature", connection), **at_initialisation(model, batches[0]), "loss": []}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-8)
    model.train()
    torch.manual_seed(seed)
    for update, batch in zip(range(updates), itertools.cycle(batches), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(connection, update)
        optimizer.zero_grad()
        loss = mean_nll(model, batch)
        loss.backward()
        optimizer.step()
        result["loss"].append(loss.item())
        if not loss.isfinite():
            break  # diverged: what follows would be NaN
    return result


def unigram_loss(pairs: Iterable[tuple[str, str]]) -> float:
    """Compute the entropy of the target tokens, in nats: the loss of a model that knows nothing but frequencies."""
    _, batches = make_batches(pairs, TOKENS)
    tokens = torch.cat([batch["target"][batch["target"] != PAD] for batch in batches])
    frequencies = tokens.bincount().double() / len(tokens)
    return float(-(frequencies * frequencies.clamp(min=1e-12).log()).sum())


def table_lines(results: Results) -> list[list[str]]:
    """Return the head and a line a model."""
    head = ["connection", "layers", "grad enc 1/L", "grad dec 1/L", "var enc 1", "var enc L", "var dec 1", "var dec L"]
    lines = [[*head, "first loss", "last loss"]]
    for (connection, layers), result in results.items():
        sides = result["encoder"], result["decoder"]
        # a branch that begins at 0, as ReZero's, lets no gradient through at first
        ratios = [f"{s['gradient'][0] / s['gradient'][-1]:.2g}" if s["gradient"][-1] else "–" for s in sides]
        variances = [f"{s['variance'][i]:.3g}" for s in sides for i in (0, -1)]
        tail = result["loss"][-10:]
        losses = [f"{result['loss'][0]:.2f}", f"{sum(tail) / len(tail):.2f}"]
        lines.append([connection, layers, *ratios, *variances, *losses])
    return lines


def table(results: Results, unigram: float) -> str:
    """Make a table of one line a model, which reads well as text, with its legend."""
    rows = table_lines(results)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    level = f"the target's unigram frequencies alone give {unigram:.2f}"
    return "\n".join([*lines, "", f"{LEGEND}; {level}."])


def draw(results: Results, path: Path) -> None:
    """Draw four panels a depth, two in a row: gradient norms of both sides, output variances of the decoder, loss."""
    depths = list(dict.fromkeys(layers for _, layers in results))
    titles = ("gradient norm, encoder", "gradient norm, decoder", "output variance, decoder", "loss (nats per token)")
    names = list(dict.fromkeys(connection for connection, _ in results))
    size = (7.0, 5.4 * len(depths) + 0.25 * math.ceil(len(names) / 3))
    with style.drawn(path, 2 * len(depths), 2, size) as (figure, panels):
        panels_of = dict(zip(depths, panels.reshape(len(depths), 4), strict=True))
        for (connection, layers), result in results.items():
            encoder, decoder = result["encoder"], result["decoder"]
            curves = encoder["gradient"], decoder["gradient"], decoder["variance"], result["loss"]
            for axis, curve in zip(panels_of[layers], curves, strict=True):
                look = style.line(connection) | {"label": style.label(connection), "markevery": max(1, len(curve) // 9)}
                axis.plot(range(1, len(curve) + 1), curve, **look)
        for layers, axes in panels_of.items():
            for axis, title in zip(axes, titles, strict=True):
                is_loss = title.startswith("loss")
                axis.set_title(f"{title}, {layers}", fontsize=11)
                axis.set_yscale("linear" if is_loss else "log")
                style.layer_axis(axis, "update" if is_loss else "layer")
        style.legend_below(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine what is not in the results yet, then write table and figure."""
    from tqdm import tqdm

    options = parse(arguments)
    pairs = read_pairs(options.data)
    folder = Path(options.output)
    wanted = {}
    for layers, connection in itertools.product(options.layers, options.connections):
        updates = options.updates or UPDATES.get(layers, 100)
        key = methods.code_key(connection)
        settings = [connection, layers, updates, options.width, options.seed, options.data, *([key] if key else [])]
        wanted[connection, layers] = settings
    with locked(folder, "depth check"):
        rows = {json.dumps(row["settings"]): row for row in read_rows(folder / "models.jsonl")}
        missing = [settings for settings in wanted.values() if json.dumps(settings) not in rows]
        code = set(methods.OWN.values())
        with processes.workers(options.jobs, prepare=import_all, arguments=(code,)) as pool:
            jobs = {pool.submit(examine, *settings): settings for settings in missing}
            for job in tqdm(as_completed(jobs), total=len(jobs), desc="depth-check", unit="model", disable=not jobs):
                row = {"settings": jobs[job], **job.result()}
                rows[json.dumps(row["settings"])] = row
                append_record(folder / "models.jsonl", row)
        results = {key: rows[json.dumps(settings)] for key, settings in wanted.items()}
        write_results(options, folder, results, unigram_loss(pairs))
    return 0


def import_all(code: Iterable[tuple[str, str]]) -> None:
    """Import the user's code in a worker."""
    for option, place in code:
        methods.import_code(option, place)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the models that are examined already; a damaged row is noted, left out and computed again."""
    rows = read_records(path, settings=list, encoder=dict, decoder=dict, loss=list)
    return [row for row in rows if holds_numbers(row)]


def holds_numbers(row: dict[str, Any]) -> bool:
    """Return whether a row has all the lists that table and figure show."""
    lists = [row["loss"]]
    for side in ("encoder", "decoder"):
        lists += [row[side].get("gradient"), row[side].get("variance")]
    return all(isinstance(x, list) and x and all(type(number) in (int, float) for number in x) for x in lists)


def write_results(options: argparse.Namespace, folder: Path, results: Results, unigram: float) -> None:
    """Write and print the table, and draw the figure."""
    text = table(results, unigram)
    where = options.data or "embedded corpus"
    title = f"# Depth and stability: {where}, width {options.width}, {TOKENS} tokens an update, seed {options.seed}"
    write_atomically(folder / "table.md", f"{title}\n\n{text}\n")
    draw(results, folder / "depth.png")
    print(f"{text}\n\nwritten: {folder / 'models.jsonl'}, {folder / 'table.md'}, {folder / 'depth.png'}")


if __name__ == "__main__":
    sys.exit(guarded(main))
