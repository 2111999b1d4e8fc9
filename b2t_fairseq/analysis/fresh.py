"""Probes of models that were never trained: translation on the embedded corpus, or any architecture on its data."""

import argparse
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, FairseqLanguageModel, build_model
from torch import nn

from .. import __path__ as OUR_PATH
from ..common.command_line import depths
from ..common.errors import UserError
from ..init.admin import profiling, waiting_stacks
from ..models.methods import ARCH, check_method, is_arch
from ..norms.unified import UnifiedNorm
from . import probes, weights
from .batches import first_batch, make_batches, read_pairs

TOKENS = 600
FEWEST_HEADS = 4


def measure(
    probe: str | Sequence[str],
    connection: str,
    layers: str,
    width: int = 512,
    seed: int = 1,
    data: str | None = None,
    *,
    tokens: int = TOKENS,
    point_layers: Sequence[int] | None = None,
    languages: tuple[str, str] = ("en", "de"),
) -> list[dict[str, Any]]:
    """Measure a translation model at initialisation, on one batch, without dropout.

    The FFN is four times as wide, a head 64 wide with at least four of them, embeddings are shared, words are whole.

    Args:
        probe: a name out of `probes.PROBES`, "weights", or several names (one pass over the model for all).
        connection: a registered name, or `arch:NAME` for a fairseq architecture with the same sizes.
        layers: encoder and decoder layers, "18-18".
        width: model width.
        seed: of the initialisation; the batch is always the same.
        data: a folder of parallel text (train.en, train.de, ...); default the embedded corpus.
        tokens: about how many target tokens the batch has.
        point_layers: the decoder layers of `points`.
        languages: of the parallel text.

    Returns:
        Records: "probe", "connection", "layers", "side", "layer", "value", "update" (0), "seed", "width", ...
    """
    words, sample = corpus(data, languages, tokens)
    with torch.random.fork_rng():
        model = build(connection, layers, width, seed, words)
        settle(model, sample)
    context = {"update": 0, "seed": seed, "width": width}
    return measured(probe, model, sample, context, point_layers, connection.removeprefix(ARCH))


def measure_architecture(
    probe: str | Sequence[str],
    arch: str,
    data: str,
    seed: int = 1,
    *,
    further: Sequence[str] = (),
    subset: str = "valid",
    tokens: int = TOKENS,
    point_layers: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Measure a fairseq architecture at initialisation, on binarised data of its task; otherwise as `measure`.

    Args:
        probe: as in `measure`.
        arch: its name, such as transformer_lm_b2t_16.
        data: the data folder, as fairseq-train takes it.
        seed: of the initialisation.
        further: options of fairseq-train, such as ["--decoder-layers", "8"].
        subset: whose first examples are the batch.
        tokens: about how many tokens (of speech: frames) the batch has.
        point_layers: the decoder layers of `points`.
    """
    check_method(f"{ARCH}{arch}")
    parser = options.get_training_parser(default_task=task_of(arch))
    arguments = [data, "--arch", arch, "--user-dir", OUR_PATH[0], *further]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, arguments))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = tasks.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        sample = first_batch(task, model, subset, tokens)
        settle(model, sample)
    return measured(probe, model, sample, {"update": 0, "seed": seed, "arch": arch}, point_layers, arch)


def task_of(arch: str) -> str:
    """Return fairseq's task for an architecture, unless `--task` names another."""
    model = ARCH_MODEL_REGISTRY[arch]
    if issubclass(model, FairseqLanguageModel):
        return "language_modeling"
    is_speech = any("speech_to_text" in parent.__module__ for parent in model.__mro__)
    return "speech_to_text" if is_speech else "translation"


def check_layers(layers: str) -> None:
    """Raise a UserError for a text that does not say encoder and decoder layers."""
    try:
        is_pair = len(depths(layers)) == 2
    except argparse.ArgumentTypeError:
        is_pair = False
    if not is_pair:
        raise UserError(f"--layers {layers}: write encoder and decoder layers as in 18-18")


@functools.lru_cache(maxsize=2)  # several models in turn see the same text
def corpus(data: str | None, languages: tuple[str, str], tokens: int) -> tuple[Dictionary, dict[str, Any]]:
    """Return the dictionary and the first batch of parallel text."""
    words, batches = make_batches(read_pairs(data, *languages), tokens)
    if not batches:
        raise UserError(f"--data {data}: its training text is empty")
    return words, batches[0]


def build(
    connection: str,
    layers: str,
    width: int,
    seed: int,
    words: Dictionary,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Build a translation model with shared embeddings and dropout 0.1; `given`: further options, {"norm": "rms"}."""
    check_layers(layers)
    heads = max(FEWEST_HEADS, width // 64)
    if width % heads:
        raise UserError(f"--width {width}: must be a multiple of its {heads} heads")
    sizes = {"embed_dim": width, "ffn_embed_dim": 4 * width, "attention_heads": heads}
    args = argparse.Namespace(arch=arch_of(check_method(connection)), dropout=0.1, share_all_embeddings=True, **given)
    for side, depth in zip(("encoder", "decoder"), layers.split("-"), strict=True):
        for option, value in {**sizes, "layers": int(depth)}.items():
            setattr(args, f"{side}_{option}", value)
    ARCH_CONFIG_REGISTRY[args.arch](args)
    torch.manual_seed(seed)
    return build_model(args, SimpleNamespace(source_dictionary=words, target_dictionary=words))


def arch_of(method: str) -> str:
    """Return a translation architecture of a method, whose sizes are then overridden."""
    return method.removeprefix(ARCH) if is_arch(method) else f"transformer_{method}_6_6"


def settle(model: nn.Module, sample: dict[str, Any]) -> None:
    """Begin as a training does: with the first update's branch warm-up, Admin's omega, UN's first moments."""
    model.set_num_updates(0)
    waiting, moving = waiting_stacks(model), [norm for norm in model.modules() if isinstance(norm, UnifiedNorm)]
    if waiting or moving:
        with torch.no_grad(), profiling(waiting):
            model.train()(**sample["net_input"])
    for norm in moving:
        norm.running.copy_(norm.moment_window[-1])


def measured(
    probe: str | Sequence[str],
    model: nn.Module,
    sample: dict[str, Any],
    context: dict[str, Any],
    point_layers: Sequence[int] | None,
    arch: str,
) -> list[dict[str, Any]]:
    """Return a model's records, with what they are about; `arch` names a model that is not ours."""
    names = [probe] if isinstance(probe, str) else list(probe)
    unknown = set(names) - {*probes.PROBES, "weights"}
    if unknown:
        raise UserError(f"unknown probe '{min(unknown)}': choose from {', '.join([*probes.PROBES, 'weights'])}")
    tokens = int(sample["target"].ne(model.decoder.dictionary.pad()).sum())
    about = {**probes.identity_of_model(model, arch), **context, "tokens": tokens}
    rows = weights.records(model.state_dict(), about["connection"]) if "weights" in names else []
    passing = [name for name in names if name != "weights"]
    if passing:
        rows = probes.measure(model, sample, passing, point_layers) + rows
    return [{"probe": row["probe"], **about, **row} for row in rows]
