"""The average of several checkpoints' parameters, as one checkpoint that every fairseq command reads.

    b2t-fairseq average-checkpoints --inputs runs/b2t --num-epoch-checkpoints 5 --output runs/b2t/average.pt

fairseq has a script of this kind, but its wheels do not ship it. Everything but the parameters (configuration,
dictionary, counters) comes from the newest file; the optimizer's state is left out, as it belongs to no average.
"""

import argparse
import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .checkpoints import integrity
from .checkpoints.arguments import model_argument
from .checkpoints.loading import load_checkpoint
from .checkpoints.signature import parse_signature, signature_of
from .common.command_line import Parser, guarded, not_negative, positive
from .common.errors import UserError
from .interchange.incoming.conversion import read
from .layers.branch_warmup import ends_at
from .norms.unified import OF_TRAINING
from .patches import apply

NAMES = {  # fairseq's file names; the groups, as numbers, tell which file is newer (or better)
    "epoch": r"checkpoint(\d+)\.pt",
    "update": r"checkpoint_\d+_(\d+)\.pt",
    "best": r"checkpoint\.best_(?P<metric>.+)_(-?\d+(?:\.\d+)?)\.pt",
}
logger = logging.getLogger(__name__)

VERSIONS = ("plugin", "fairseq")  # fields of a signature that say nothing about the model


def average(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Average the parameters of `paths`; the first one gives everything else.

    Sums are taken in float64 and every tensor keeps its type; integers are rounded down; parameters that share memory
    in the first file (tied embeddings) share it in the result. What only a training needs of `--norm un` is left
    out.

    Raises:
        UserError: a file cannot be read, or two files hold different models.
    """
    if not paths:
        raise UserError("No checkpoints to average.")
    result, sums = {}, OrderedDict()
    for path in paths:
        state = read(path)
        state["model"] = OrderedDict((name, x) for name, x in state["model"].items() if not _is_of_training(name))
        _check_finite(path, state["model"])
        _warn_of_warmup(path, state)
        if not result:
            result = state
            sums = OrderedDict((name, _wide(value)) for name, value in state["model"].items())
            continue
        _check_same_model(paths[0], result, path, state)
        for name, value in state["model"].items():
            if torch.is_tensor(value):
                sums[name] += _wide(value)

    means, shared = OrderedDict(), {}
    for name, old in result["model"].items():
        if not torch.is_tensor(old):
            means[name] = old
            continue
        mean = sums[name] / len(paths) if old.is_floating_point() else sums[name] // len(paths)
        mean = mean.to(old.dtype)
        twin = shared.setdefault((old.data_ptr(), old.shape, old.stride(), old.dtype), mean)
        means[name] = twin if torch.equal(twin, mean) else mean
    result["model"] = means
    result["last_optimizer_state"] = None
    return result


def _is_of_training(name: str) -> bool:
    return name.rpartition(".")[2] in OF_TRAINING


def _check_finite(path: str | Path, model: dict[str, Any]) -> None:
    for name, value in model.items():
        if torch.is_tensor(value) and value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(
                f"{path}: {name} holds NaN or infinite weights: the training diverged; average other checkpoints."
            )


def _warn_of_warmup(path: str | Path, state: dict[str, Any]) -> None:
    names = ("branch_warmup", "branch_warmup_schedule", "encoder_layers", "decoder_layers")
    options = {name: model_argument(state, name) for name in names}
    end = ends_at(options, max(int(options[f"{side}_layers"] or 0) for side in ("encoder", "decoder")))
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates")
    if updates is not None and updates < end:
        logger.warning(
            f"{path} is in its branch warm-up ({updates} of {end} updates): its function is another one than that of "
            "the other checkpoints; average only those after it"
        )


def _wide(value: Any) -> Any:
    if not torch.is_tensor(value):
        return value
    return value.to(torch.float64 if value.is_floating_point() else torch.int64, copy=True)


def _check_same_model(first: str | Path, one: dict, second: str | Path, other: dict) -> None:
    signatures = signature_of(one), signature_of(other)
    if _without_versions(signatures[0]) != _without_versions(signatures[1]):
        raise UserError(
            f"{first} and {second} hold different models and cannot be averaged: "
            f"{signatures[0] or 'no signature'} and {signatures[1] or 'no signature'}."
        )
    vocabularies = [model_argument(state, "vocabulary") for state in (one, other)]
    if all(vocabularies) and vocabularies[0] != vocabularies[1]:
        raise UserError(
            f"{first} and {second} were trained with different vocabularies and cannot be averaged: "
            f"{vocabularies[0]} and {vocabularies[1]}."
        )
    shapes = [{n: tuple(getattr(v, "shape", ())) for n, v in state["model"].items()} for state in (one, other)]
    different = sorted(n for n in {**shapes[0], **shapes[1]} if shapes[0].get(n) != shapes[1].get(n))
    if different:
        name = different[0]
        raise UserError(
            f"{first} and {second} hold different models and cannot be averaged: {len(different)} parameters differ, "
            f"among them {name}: {shapes[0].get(name, 'missing')} and {shapes[1].get(name, 'missing')} "
            f"(signatures: {signatures[0] or 'none'} and {signatures[1] or 'none'})."
        )


def _without_versions(signature: str | None) -> dict[str, str] | None:
    return signature and {k: v for k, v in parse_signature(signature).items() if k not in VERSIONS}


def choose(inputs: Sequence[str], kind: str | None, count: int | None, upper_bound: int | None = None) -> list[Path]:
    """Return the files to average, newest (or best) first.

    Args:
        inputs: checkpoint files, or one directory together with `kind` and `count`.
        kind: "epoch", "update" or "best".
        count: how many.
        upper_bound: the last epoch or update to take.
    """
    if kind is None:
        if upper_bound is not None:
            raise UserError("--checkpoint-upper-bound needs --num-epoch-checkpoints or --num-update-checkpoints.")
        for path in map(Path, inputs):
            if path.is_dir():
                raise UserError(f"{path} is a directory: say which of its checkpoints, e.g. --num-epoch-checkpoints 5.")
            if not path.is_file():
                raise UserError(f"{path}: no such checkpoint.")
        return list(map(Path, inputs))

    if len(inputs) != 1 or not Path(inputs[0]).is_dir():
        raise UserError(f"--inputs {' '.join(inputs)}: --num-{kind}-checkpoints needs exactly one existing directory.")
    if count < 1:
        raise UserError(f"--num-{kind}-checkpoints {count}: must be at least 1.")
    if kind == "best" and upper_bound is not None:
        raise UserError("--checkpoint-upper-bound does not go with --num-best-checkpoints.")
    matches = [(re.fullmatch(NAMES[kind], path.name), path) for path in Path(inputs[0]).iterdir()]
    files = [(float(match[match.lastindex]), path) for match, path in matches if match]
    files = sorted((x for x in files if upper_bound is None or x[0] <= upper_bound), reverse=True)
    if len(files) < count:
        bound = "" if upper_bound is None else f" up to {upper_bound}"
        raise UserError(
            f"{inputs[0]}: {count} {kind} checkpoints asked for, {len(files)}{bound} found: "
            f"train longer, or ask for fewer (num-{kind}-checkpoints)."
        )
    if kind == "best":
        metrics = sorted({match["metric"] for match, _ in matches if match})
        if len(metrics) > 1:
            raise UserError(f"{inputs[0]}: best checkpoints of several metrics ({', '.join(metrics)}); name the files.")
        if not _higher_is_better(files[0][1]):
            files.reverse()
    return [path for _, path in files[:count]]


def _higher_is_better(path: Path) -> bool:
    """Only the run's configuration says it: a file name shows the metric and its value."""
    state = load_checkpoint(path)
    options = (state.get("cfg") or {}).get("checkpoint") or vars(state.get("args") or argparse.Namespace())
    return bool(options.get("maximize_best_checkpoint_metric"))


def save(state: dict[str, Any], output: str | Path) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: the folder cannot be made.
        UserError: the file cannot be written.
    """
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    integrity.write(state, output)


def _parser() -> Parser:
    parser = Parser(prog="b2t-fairseq average-checkpoints", description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", required=True, nargs="+", help="checkpoint files, or one directory of them")
    parser.add_argument("--output", required=True, help="the checkpoint to write")
    which = parser.add_mutually_exclusive_group()
    add = which.add_argument
    add("--num-epoch-checkpoints", type=positive, metavar="N", help="the last N checkpointE.pt")
    add("--num-update-checkpoints", type=positive, metavar="N", help="the last N checkpoint_E_U.pt")
    add("--num-best-checkpoints", type=positive, metavar="N", help="the N best checkpoint.best_METRIC_V.pt")
    parser.add_argument(
        "--checkpoint-upper-bound", type=not_negative, metavar="N", help="the last epoch or update to take"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Average checkpoints as the command line says."""
    args = _parser().parse_args(argv)
    kind = next((k for k in NAMES if getattr(args, f"num_{k}_checkpoints") is not None), None)
    apply()  # the allow-list of safe loading
    count = kind and getattr(args, f"num_{kind}_checkpoints")
    paths = choose(args.inputs, kind, count, args.checkpoint_upper_bound)
    state = average(paths)
    save(state, args.output)
    names = ", ".join(path.name for path in paths)
    print(f"{args.output}: average of {len(paths)} ({names}) {signature_of(state) or ''}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
