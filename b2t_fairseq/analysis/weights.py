"""What a connection has learned itself: DLCL's combination of layers, Admin's omega.

    b2t-fairseq analyze weights --path checkpoint_best.pt --figure weights.svg
    b2t-fairseq dlcl-weights --path checkpoint_best.pt --output weights.png

DLCL: W[l, k] says how much the output of layer k <= l (0: the embedding) counts in the input of layer l + 1, the last
row in the stack's output; at the start of training every entry of row l is 1 / (l + 1). Admin: the mean of omega, the
weight of the residual, at each sub-layer, with its standard deviation over the channels.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints.loading import load_checkpoint
from ..common.command_line import Parser, guarded
from ..common.errors import UserError
from ..layers import StackConfig
from . import figures

SUFFIX = "layers.connection.weight"
OMEGA = re.compile(r"(encoder|decoder)\.\w*layers\.connection\.omega\.(\d+)")


def combinations(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return DLCL's W (L+1, L+1) of each stack, by the stack's name ("encoder", "decoder"), out of a state dict."""
    return {
        name.split(".")[0]: value.float().tril()
        for name, value in state.items()
        if name.endswith(SUFFIX) and value.dim() == 2 and f"{name[:-6]}history_norms.0.weight" in state
    }


def omegas(state: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Return Admin's omega (C,) of each sub-layer in order of execution, by the stack's name."""
    found: dict[str, dict[int, Tensor]] = {}
    for name, value in state.items():
        if match := OMEGA.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2])] = value.float()
    return {side: [values[i] for i in sorted(values)] for side, values in found.items()}


def records(state: Mapping[str, Tensor], connection: str) -> list[dict[str, Any]]:
    """Return a state dict's weights as records.

    DLCL: "layer" l + 1, the one that reads (L + 1: the stack's output), "other" k, "value" W[l, k]. Admin: "layer",
    "sublayer" ("SA", "CA", "FF"), "value" the mean of omega, "deviation" its standard deviation over the channels.

    Raises:
        UserError: the connection has neither.
    """
    rows: list[dict[str, Any]] = []
    for side, weight in combinations(state).items():
        for l, row in enumerate(weight.tolist()):
            rows += [{"side": side, "layer": l + 1, "other": k, "value": row[k]} for k in range(l + 1)]
    for side, values in omegas(state).items():
        has_cross_attention = any(name.startswith(f"{side}.") and ".encoder_attn." in name for name in state)
        kinds = ("SA", "CA", "FF") if has_cross_attention else StackConfig.kinds
        for i, omega in enumerate(values):
            place = {"side": side, "layer": i // len(kinds) + 1, "sublayer": kinds[i % len(kinds)]}
            rows.append({**place, "value": omega.mean().item(), "deviation": omega.std(unbiased=False).item()})
    if not rows:
        raise UserError(f"weights: connection '{connection}' has none of its own; dlcl_pre, dlcl_post and admin have")
    return [{"probe": "weights", **row} for row in rows]


def read_weights(path: str) -> dict[str, Tensor]:
    """Read W (L+1, L+1) of each stack in a checkpoint, by the stack's name.

    Raises:
        UserError: the checkpoint is not of a DLCL model.
    """
    weights = combinations(load_checkpoint(path)["model"])
    if not weights:
        raise UserError(f"{path} has no DLCL weights: it must be a checkpoint of --connection dlcl_pre or dlcl_post")
    return weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Print W, row by row, and draw it if asked to (`b2t-fairseq dlcl-weights`)."""
    parser = Parser(prog="b2t-fairseq dlcl-weights", description="The layer combination that DLCL has learned.")
    parser.add_argument("--path", required=True, metavar="FILE", help="checkpoint of dlcl_pre or dlcl_post")
    parser.add_argument("--output", metavar="PNG", help="where the figure goes (default: no figure)")
    options = parser.parse_args(arguments)
    weights = read_weights(options.path)
    for name, weight in weights.items():
        print(f"{name}:")
        for l, row in enumerate(weight.tolist()):
            print(f"  {l:3d}  " + " ".join(f"{value:6.3f}" for value in row[: l + 1]))
    if options.output:
        figures.combinations({name: weight.tolist() for name, weight in weights.items()}, Path(options.output))
        print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
