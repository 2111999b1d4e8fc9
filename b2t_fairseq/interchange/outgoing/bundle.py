"""Write a bundle: a trained model as plain files with their checksums (`checkpoints/bundles.py` says which)."""

import math
import shutil
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from fairseq import checkpoint_utils
from omegaconf import OmegaConf

from ...checkpoints import bundles, trust
from ...checkpoints.signature import signature_of
from ...checkpoints.vocabulary import describe
from ...common.errors import UserError
from ...common.files import all_or_nothing, write_atomically, write_record
from ...common.optional import require
from ..trained import Trained

ON_LOADING = "."  # for what a bundle's own folder takes the place of


def write(model: Trained, folder: Path) -> list[str]:
    """Write a bundle, whole or not at all.

    Args:
        model: the trained model, which was loaded and so is known to be whole.
        folder: where to; made.

    Returns:
        The names of its files.

    Raises:
        UserError: something cannot be written without a pickle, or safetensors is not installed.
    """
    save_file = require("safetensors.torch", "export", "bundles").save_file
    places = model.places
    told = {"data": str(places.data), "trust_checkpoint": True}  # it is read, and was loaded as the user wanted
    state = checkpoint_utils.load_checkpoint_to_cpu(str(places.checkpoint), arg_overrides=told)
    weights, tied = untied(state["model"], places.checkpoint)
    groups, namespaces = options_of(state, model)
    with all_or_nothing(folder) as partial:
        save_file(weights, partial / bundles.WEIGHTS, metadata={"format": "pt"})
        (partial / bundles.WEIGHTS).chmod(0o644)  # safetensors lets only the owner read it
        subwords = copy_parts(model, partial)
        config = {
            "format": bundles.FORMAT,
            "task": places.task,
            "signature": model.signature or signature_of(state),
            "vocabulary": describe(*vocabularies(model)),
            "updates": int(state["optimizer_history"][-1].get("num_updates", 0)),
            "subwords": subwords,
            "tied": tied,
            "namespaces": namespaces,
            "options": groups,
        }
        write_record(partial / bundles.CONFIG, config)
        names = sorted(path.name for path in partial.iterdir())
        sums = "".join(f"{bundles.digest(partial / name)}  {name}\n" for name in names)
        write_atomically(partial / bundles.SUMS, sums)
    return [*names, bundles.SUMS]


def vocabularies(model: Trained) -> list[Any]:
    """Return the dictionaries that the model's embeddings belong to."""
    sides = [model.task.target_dictionary] if model.is_speech else []
    return sides or [model.task.source_dictionary, model.task.target_dictionary]


def untied(weights: Mapping[str, Any], path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the weights, each once and in memory of its own, and the names of the others: name -> name of its twin.

    Raises:
        UserError: something that is not a tensor is among them.
    """
    kept, tied, first = {}, {}, {}
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise UserError(f"{path}: {name} is not a plain tensor, and a bundle holds nothing else: not exported")
        view = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and view in first:
            tied[name] = first[view]
        else:
            first[view], kept[name] = name, value.detach().clone(memory_format=torch.contiguous_format)
    return kept, tied


def options_of(state: Mapping[str, Any], model: Trained) -> tuple[dict[str, Any], list[str]]:
    """Return fairseq's configuration as JSON holds it, and the names of the groups that are a Namespace.

    Places of the training's machine are left out; what the bundle itself has, is named.
    """
    cfg = OmegaConf.to_container(state["cfg"], resolve=True, enum_to_str=True)
    trust.drop_places(cfg, (), [])
    namespaces = [name for name, group in cfg.items() if isinstance(group, Namespace)]
    groups = {name: plain(vars(group) if name in namespaces else group, name) for name, group in cfg.items()}
    groups["task"]["data"] = ON_LOADING  # there, so that fairseq takes the place that it is told on loading
    if model.is_speech:
        groups["task"]["config_yaml"] = bundles.AUDIO
    for side in ("source_lang", "target_lang"):  # fairseq guesses them from the names of data files
        if language := getattr(getattr(model.task, "cfg", None), side, None):
            groups["task"][side] = language
    return groups, namespaces


def plain(value: Any, where: str) -> Any:
    """Return a value of the configuration as JSON can hold it.

    Raises:
        UserError: it cannot; names the option.
    """
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): plain(part, f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, where) for part in value]
    is_number = isinstance(value, int | float) and not (isinstance(value, float) and math.isnan(value))
    if value is None or isinstance(value, str) or is_number:
        return value
    raise UserError(f"the checkpoint's option {where} ({type(value).__name__}) is not text or a number: not exported")


def copy_parts(model: Trained, folder: Path) -> str | None:
    """Copy dictionaries, subwords and speech settings into the bundle; return the kind of the subwords."""
    places = model.places
    if model.is_speech:
        return copy_audio(model, folder)
    languages = [getattr(getattr(model.task, "cfg", None), side, None) for side in ("source_lang", "target_lang")]
    for name in {f"dict.{language}.txt" for language in languages if language} or {"dict.txt"}:
        shutil.copyfile(places.data / name, folder / name)
    if places.is_bundle:
        kind = bundles.read_config(places.checkpoint)["subwords"]
        if kind is not None:
            shutil.copyfile(places.checkpoint / bundles.SUBWORDS[kind][0], folder / bundles.SUBWORDS[kind][0])
        return kind
    if places.kind is not None and places.subwords is not None:
        shutil.copyfile(places.subwords, folder / bundles.SUBWORDS[places.kind][0])
    return places.kind


def copy_audio(model: Trained, folder: Path) -> str | None:
    """Copy what speech needs; config.yaml names the files by their names in the bundle, and no folder."""
    data_cfg, kind = model.task.data_cfg, None
    config = dict(data_cfg.config)
    config.pop("audio_root", None)
    shutil.copyfile(model.places.data / data_cfg.vocab_filename, folder / "dict.txt")
    config["vocab_filename"] = "dict.txt"
    tokenizer = dict(data_cfg.bpe_tokenizer or {})
    if tokenizer.get("bpe"):
        kind = tokenizer["bpe"]
        if kind not in bundles.SUBWORDS:
            raise UserError(f"subwords of the kind '{kind}' cannot be exported: {' or '.join(bundles.SUBWORDS)} can")
        file, option = bundles.SUBWORDS[kind]
        shutil.copyfile(tokenizer[option], folder / file)
        config["bpe_tokenizer"] = {**tokenizer, option: file}
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (folder / bundles.AUDIO).write_text(text, encoding="utf-8")
    bundles.check_audio_config(folder / bundles.AUDIO)  # what could not be read again is not written
    return kind
