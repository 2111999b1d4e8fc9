"""Probes of checkpoints: translation, summarization, language model, speech."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from torch import nn

from ..checkpoints.signature import signature_of
from ..common.errors import UserError
from ..interchange.incoming.conversion import read
from . import weights
from .batches import first_batch
from .fresh import TOKENS, measured
from .probes import identity, stacks_of


def measure(
    probe: str | Sequence[str],
    path: str,
    data: str | None = None,
    *,
    subset: str = "valid",
    tokens: int = TOKENS,
    point_layers: Sequence[int] | None = None,
    trust_checkpoint: bool = False,
) -> list[dict[str, Any]]:
    """Measure a checkpoint on one batch, without dropout.

    Args:
        probe: a name out of `probes.PROBES`, "weights", or several names (one pass over the model for all).
        path: the checkpoint.
        data: the data folder of its training; "weights" alone needs none.
        subset: whose first examples are the batch.
        tokens: about how many tokens (of speech: frames) the batch has.
        point_layers: the decoder layers of `points`, from 1 on.
        trust_checkpoint: take the checkpoint's word for classes, files and modules.

    Returns:
        Records: "probe", "connection", "layers", "side", "layer", "value", "update", "seed", "path", ...
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; --path takes checkpoints")
    state = read(path)
    context = {**origin(state), "path": path}
    if probe in ("weights", ["weights"]):
        about = identity_of(state, path)
        rows = weights.records(state["model"], about["connection"])
        return [{"probe": "weights", **about, **context, **row} for row in rows]
    if data is None:
        raise UserError(f"--data is missing: the prepared folder that {path} was trained on")
    model, task = load(path, data, trust_checkpoint)
    return measured(probe, model, first_batch(task, model, subset, tokens), context, point_layers, arch_of(state))


def load(path: str, data: str, trust_checkpoint: bool = False) -> tuple[nn.Module, Any]:
    """Return model and task of a checkpoint.

    Raises:
        UserError: no such folder, a checkpoint that is not to be trusted, or a model that is not a Transformer.
    """
    if not Path(data).is_dir():
        raise UserError(f"--data {data}: no such folder; it takes the prepared folder of the training")
    # a path that a language model's data set reads, and that is not taken on a checkpoint's word: fairseq's default
    overrides: dict[str, Any] = {"data": data, "plasma_path": "/tmp/plasma", "checkpoint_activations": False}
    if (Path(data) / "config.yaml").is_file():  # speech
        overrides["config_yaml"] = "config.yaml"
    if trust_checkpoint:
        overrides["trust_checkpoint"] = True
    models, _, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides=overrides)
    try:
        stacks_of(models[0])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return models[0].float().eval(), task


def arch_of(state: Mapping[str, Any]) -> str:
    """Return the name of a checkpoint's architecture."""
    model = (state.get("cfg") or {}).get("model") or state.get("args")
    get = model.get if isinstance(model, Mapping) else lambda name: getattr(model, name, None)
    return str(get("arch") or get("_name"))


def origin(state: Mapping[str, Any]) -> dict[str, int]:
    """Return how many updates a checkpoint has seen, and the seed of its training."""
    history = state.get("optimizer_history") or [{}]
    common = (state.get("cfg") or {}).get("common") or {}
    seed = common.get("seed", getattr(state.get("args"), "seed", 1))
    return {"update": history[-1].get("num_updates", 0), "seed": seed}


def identity_of(state: Mapping[str, Any], path: str) -> dict[str, str]:
    """Return which model a checkpoint holds, without building it.

    Raises:
        UserError: it is not one of ours.
    """
    signature = signature_of(state)
    if signature is None or "|init:" not in signature:
        raise UserError(f"{path}: not a checkpoint of one of our models")
    return identity(signature)
