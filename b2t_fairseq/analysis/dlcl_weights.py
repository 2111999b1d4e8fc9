"""The combination that DLCL has learned: W of a checkpoint, as numbers and as a figure.

    python -m b2t_fairseq.cli dlcl-weights --path checkpoint_best.pt --output weights.png

Row l shows how much each earlier output k <= l counts in the input of layer l+1, the last row in the stack's output; at
the start of training every entry of row l is 1/(l+1).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..checkpoints.loading import load_checkpoint
from ..common.command_line import Parser, guarded
from ..common.errors import UserError
from ..common.files import replacing

SUFFIX = "layers.connection.weight"


def read_weights(path: str) -> dict[str, Tensor]:
    """Read W (L+1, L+1) of each stack in a checkpoint, by the stack's name ("encoder", "decoder").

    Raises:
        UserError: the checkpoint is not of a DLCL model.
    """
    state = load_checkpoint(path)["model"]
    names = [name for name, value in state.items() if name.endswith(SUFFIX) and value.dim() == 2]
    weights = {
        name.split(".")[0]: state[name].float().tril()
        for name in names
        if f"{name[:-6]}history_norms.0.weight" in state
    }
    if not weights:
        raise UserError(f"{path} has no DLCL weights: it must be a checkpoint of --connection dlcl_pre or dlcl_post")
    return weights


def draw(weights: dict[str, Tensor], path: Path) -> None:
    """Draw one panel a stack, rows l and columns k."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(weights), figsize=(5.5 * len(weights), 4.5), squeeze=False)
    limit = max(weight.abs().max().item() for weight in weights.values())
    for axis, (name, weight) in zip(axes[0], weights.items(), strict=True):
        picture = axis.imshow(weight, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(title=f"DLCL, {name}", xlabel="k: output of layer k (0: embedding)", ylabel="l: input of layer l+1")
        figure.colorbar(picture, ax=axis)
    figure.tight_layout()
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
    finally:
        pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print W, row by row, and draw it if asked to."""
    parser = Parser(prog="b2t-fairseq dlcl-weights", description=__doc__.split("\n")[0])
    parser.add_argument("--path", required=True, metavar="FILE", help="checkpoint of dlcl_pre or dlcl_post")
    parser.add_argument("--output", metavar="PNG", help="where the figure goes (default: no figure)")
    options = parser.parse_args(arguments)
    weights = read_weights(options.path)
    for name, weight in weights.items():
        print(f"{name}:")
        for l, row in enumerate(weight.tolist()):
            print(f"  {l:3d}  " + " ".join(f"{value:6.3f}" for value in row[: l + 1]))
    if options.output:
        draw(weights, Path(options.output))
        print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
