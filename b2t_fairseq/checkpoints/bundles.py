"""Bundles: a trained model as a folder of plain files, without a pickle, each with its checksum.

    model.safetensors    the weights; tied ones once
    config.json          options, signature, vocabulary, updates (`FORMAT` says which form)
    dict.en.txt …        the dictionaries, and of speech config.yaml
    subwords.model       if there are subwords: SentencePiece's model, or the codes of subword-nmt
    SHA256SUMS           of all of these, as `sha256sum --check` reads them

`interchange/outgoing/bundle.py` writes them; here they are read, for whatever loads a checkpoint. A bundle may come
from a stranger: nothing in it is code, its options are looked through as a checkpoint's (`trust.py`), and the files
that it names must lie in it.
"""

import hashlib
import os
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..common.errors import UserError
from ..common.files import parse_record
from ..common.optional import require
from . import trust

FORMAT = "b2t_fairseq bundle, version 1"
WEIGHTS, CONFIG, SUMS, AUDIO = "model.safetensors", "config.json", "SHA256SUMS", "config.yaml"
#: kind of subwords -> (file in the bundle, fairseq's option that names the file)
SUBWORDS = {
    "sentencepiece": ("subwords.model", "sentencepiece_model"),
    "subword_nmt": ("subwords.codes", "bpe_codes"),
}
#: what config.json holds
FIELDS = {"format": str, "updates": int, "subwords": (str, type(None)), "tied": dict, "options": dict}
FIELDS |= {"namespaces": list}
A_NAME = re.compile(r"\w[\w.+-]*")
CHUNK = 1 << 20


def is_bundle(path: str | os.PathLike) -> bool:
    """Return whether a path leads to a bundle, be it whole or not."""
    return any(os.path.isfile(os.path.join(path, name)) for name in (WEIGHTS, SUMS))


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    content = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            content.update(block)
    return content.hexdigest()


def check(folder: Path) -> None:
    """Check every file of a bundle against its checksum.

    Raises:
        UserError: one is missing, changed, or has no checksum; names it.
    """
    sums = read_sums(folder)
    for name in (WEIGHTS, CONFIG):
        if name not in sums:
            raise UserError(f"{folder}: {SUMS} does not list {name}: the bundle is incomplete; copy or export it again")
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing: the bundle is incomplete; copy or export it again")
        if digest(path) != expected:
            raise UserError(f"{path}: not the file that was exported (its SHA-256 differs); copy or export it again")
    unlisted = sorted(path.name for path in folder.iterdir() if _is_read(path.name) and path.name not in sums)
    if unlisted:
        raise UserError(f"{folder}: {unlisted[0]} has no checksum in {SUMS}: the bundle was altered; export it again")


def _is_read(name: str) -> bool:
    """Whether fairseq or we would read a file of this name."""
    subwords = [file for file, _ in SUBWORDS.values()]
    return name in (WEIGHTS, CONFIG, AUDIO, *subwords) or bool(re.fullmatch(r"dict\..*txt", name))


def read_sums(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256, as SHA256SUMS lists them.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{folder}: {SUMS} is missing: the bundle is incomplete; copy or export it again") from None
    except UnicodeDecodeError:
        lines = [""]
    sums = {}
    for line in lines:
        entry = re.fullmatch(rf"([0-9a-f]{{64}})  ({A_NAME.pattern})", line)
        if entry is None or entry[2] in sums:
            raise UserError(f"{folder / SUMS}: damaged: each line must be a SHA-256, two spaces, a file name")
        sums[entry[2]] = entry[1]
    return sums


def read_config(folder: Path) -> dict[str, Any]:
    """Return what config.json holds; its file was checked (`check`).

    Raises:
        UserError: it is damaged, or of another version.
    """
    path = folder / CONFIG
    try:
        config = parse_record(path.read_text(encoding="utf-8"), FIELDS)
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); copy or export the bundle again") from None
    if config["format"] != FORMAT:
        raise UserError(f"{path}: '{config['format'][:80]}' is not '{FORMAT}': it needs another version of b2t_fairseq")
    if config["subwords"] not in (None, *SUBWORDS):
        raise UserError(f"{path}: its subwords '{str(config['subwords'])[:80]}' are not {' or '.join(SUBWORDS)}")
    return config


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Return a bundle as the checkpoint that fairseq would have loaded from a file.

    Raises:
        UserError: a file is missing, damaged, or of another version; safetensors is not installed.
    """
    folder = Path(path)
    load_file = require("safetensors.torch", "export", "bundles").load_file
    check(folder)
    config = read_config(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors has no class of its own that is public
        raise UserError(f"{folder / WEIGHTS}: not a safetensors file ({' '.join(str(error).split())})") from None
    for name, other in config["tied"].items():
        if other not in weights:
            raise UserError(f"{folder / CONFIG}: {name} is tied to {other}, which is not among the weights")
        weights[name] = weights[other]
    history = {"num_updates": config["updates"], "lr_scheduler_state": {"best": None}}
    history |= {"optimizer_name": "none", "criterion_name": "none"}
    return {
        "args": None,
        "cfg": options_of(config, folder / CONFIG),
        "model": weights,
        "optimizer_history": [history],
        "last_optimizer_state": None,
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }


def options_of(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return fairseq's configuration: groups of options, of which some are a Namespace.

    Raises:
        UserError: a group is not names and values.
    """
    groups = dict(config["options"])
    for group in config["namespaces"]:
        if not isinstance(group, str) or not isinstance(groups.get(group), dict):
            raise UserError(f"{path}: its options ({str(group)[:80]}) are not names and values; not loaded")
        groups[group] = Namespace(**groups[group])
    return groups


def overrides(path: str | os.PathLike) -> dict[str, Any]:
    """Return what to tell fairseq beside the checkpoint: where the dictionaries and the subwords are.

    Raises:
        UserError: the bundle is damaged, or config.yaml names something outside of it.
    """
    folder = Path(path)
    check(folder)
    config = read_config(folder)
    found: dict[str, Any] = {"data": str(folder)}
    if (folder / AUDIO).exists():
        check_audio_config(folder / AUDIO)
        return found | {"config_yaml": AUDIO}
    if config["subwords"] is not None:
        file, option = SUBWORDS[config["subwords"]]
        if not (folder / file).is_file():
            raise UserError(f"{folder}: {file} is missing: the bundle is incomplete; copy or export it again")
        found |= {"bpe": config["subwords"], option: str(folder / file)}
    return found


def check_audio_config(path: Path) -> None:
    """Refuse a bundle's config.yaml that names a place outside the bundle, or a class that is not on fairseq's list.

    Raises:
        UserError: names what it is.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise UserError(f"{path}: not valid YAML; copy or export the bundle again") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: it must hold names and values; copy or export the bundle again")
    for section, key in (("bpe_tokenizer", "bpe"), ("pre_tokenizer", "tokenizer")):
        named = config.get(section) or {}
        group = "bpe" if key == "bpe" else "tokenizer"
        if not isinstance(named, dict) or named.get(key) not in (None, *trust.ACCEPTED[group]):
            raise UserError(f"{path}: its {section} is not one of {', '.join(trust.ACCEPTED[group])}; not loaded")
    for text in _texts(config):
        if trust.LOOKS_LIKE_A_PLACE.search(text) or ".." in text:
            raise UserError(f"{path}: names '{text[:80]}', which is not a file of the bundle; not loaded")


def _texts(value: Any) -> list[str]:
    """Every text among nested values; safe YAML may repeat a part, but not without end in a checked size."""
    texts, rest, count = [], [value], 0
    while rest:
        part = rest.pop()
        count += 1
        if count > trust.MOST_NODES:
            raise UserError("a bundle's config.yaml is nested without end; not loaded")
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            rest += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            rest += part
    return texts
