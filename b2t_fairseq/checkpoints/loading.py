"""Checkpoints are loaded by torch's safe unpickler, with a list of what fairseq's may hold.

Safe unpickling is never switched off: `allowed` names what fairseq checkpoints really hold, Python classes without code
that runs on loading; numpy's types, whose own C code believes the file, are replaced by ours. A file that needs more is
refused, and the message says what it needs.
"""

import argparse
import collections
import contextlib
import enum
import os
import pickle
import re
import typing
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import omegaconf
import torch
from fairseq.dataclass import FairseqDataclass, configs, constants
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import meters

from ..common.errors import UserError
from . import bundles, integrity, plain_arrays

TORCH = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
#: torch < 2.4 has no list, and does not need one
HAS_ALLOW_LIST = hasattr(torch.serialization, "add_safe_globals")


class UnsafeCheckpointError(UserError, pickle.UnpicklingError):
    """A checkpoint needs something that is not on the allow-list; nothing of it was run."""


def allow_listed() -> None:
    """Tell torch's safe unpickler what `allowed` names."""
    if HAS_ALLOW_LIST:
        torch.serialization.add_safe_globals(allowed())


def load_checkpoint(path: str | Path, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint into CPU memory by the safe unpickler; a bundle without any (`bundles.py`).

    Args:
        path: the file.
        mapped: only look: the tensors stay on the disk, and the file's digest is not checked.

    Raises:
        UserError: if the file cannot be read, is damaged, or needs more than the allow-list (`UnsafeCheckpointError`).
    """
    if not HAS_ALLOW_LIST:
        raise UserError(f"{path}: torch {torch.__version__} cannot load checkpoints safely; install torch >= 2.4.")
    if bundles.is_bundle(path):
        return bundles.read(path)
    allow_listed()
    with one_line_about(path):
        if not mapped:
            integrity.check(path)
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    check_state(state, path)
    return state


@contextlib.contextmanager
def one_line_about(path: str | Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file makes torch raise into one line about it.

    Raises:
        UserError: the file cannot be read, or needs more than the allow-list (`UnsafeCheckpointError`).
    """
    try:
        yield
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise refusal(path, error) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # it depends on where the file is damaged
        why = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a whole checkpoint file ({type(error).__name__} {why}).") from None


def check_archive(file: str | Path | BinaryIO) -> None:
    """Refuse an archive that grows when it is read: torch stores tensors as they are, each once.

    Raises:
        UserError: something in it is compressed, or it claims more bytes than it has.
    """
    name, start = getattr(file, "name", file), None if isinstance(file, str | Path) else file.tell()
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:  # an old file format, or a damaged file: torch says so
        members = []
    finally:
        if start is not None:
            size = file.seek(0, os.SEEK_END)
            file.seek(start)
        else:
            size = os.path.getsize(file)
    if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
        raise UserError(f"{name}: compressed inside, which torch never does: it could be of any size; not loaded")
    if sum(m.file_size for m in members) > size:
        raise UserError(f"{name}: claims to hold more bytes than the file has; not loaded")


def check_state(state: Any, path: str | Path) -> None:
    """Refuse what is not a fairseq checkpoint, and tensors that claim to be larger than what was stored for them.

    Raises:
        UserError: says which it is.
    """
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise UserError(f"{path}: not a fairseq checkpoint (no 'model' in it).")
    for name, value in state["model"].items():
        is_dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type != "meta"
        if is_dense and value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UserError(f"{path}: {name} claims to be larger than what was stored of it; not loaded")


def check_history(state: dict[str, Any], path: str | Path) -> None:
    """Refuse a checkpoint of which parts were taken out that fairseq reads of every one, and dies without.

    Raises:
        UserError: names the part.
    """
    for part, former in (("optimizer_history", "best_loss"), ("extra_state", "epoch")):
        if part not in state and former not in state:  # the second: of fairseq's first versions
            raise UserError(f"{path}: not a whole fairseq checkpoint (no '{part}' in it).")


def give_adams_name(state: dict[str, Any]) -> None:
    """Let `adam` and `adam_fused` go on with checkpoints of `adam_fused` from when it had a class name of its own."""
    history = state.get("optimizer_history")
    for entry in history if isinstance(history, list) else []:
        if isinstance(entry, dict) and entry.get("optimizer_name") == "FairseqFusedAdam":
            entry["optimizer_name"] = "FairseqAdam"


def allowed() -> list:
    """Return what a fairseq checkpoint may hold besides tensors and plain containers."""
    types = [argparse.Namespace, collections.defaultdict, collections.OrderedDict, dict, list, set, int, float, str]
    types += [bool, tuple, typing.Any, *_omegaconf_types(), *_fairseq_types()]
    # a name that differs from the object's own needs a pair, which torch 2.4 and 2.5 do not take: no numpy there
    return types + (_moved_names() if TORCH >= (2, 6) else [])


def _omegaconf_types() -> list:
    """Return omegaconf's types, which configurations have when rank 0 sends a checkpoint to the other ranks."""
    nodes = [c for c in vars(omegaconf.nodes).values() if isinstance(c, type) and issubclass(c, omegaconf.Node)]
    base = omegaconf.base
    names = ("Metadata", "ContainerMetadata", "UnionNode")  # UnionNode: omegaconf >= 2.2
    return [*nodes, omegaconf.DictConfig, omegaconf.ListConfig, *(getattr(base, n) for n in names if hasattr(base, n))]


def _fairseq_types() -> list:
    """Return the broadcast's placeholder, configuration dataclasses, enums, and the meters of old checkpoints."""
    kinds = [(configs, FairseqDataclass), (constants, enum.Enum), (meters, meters.Meter)]
    types = [c for module, base in kinds for c in vars(module).values() if isinstance(c, type) and issubclass(c, base)]
    placeholder = getattr(distributed_utils, "_TensorPlaceholder", None)
    return [*types, *([placeholder] if placeholder else [])]


def _moved_names() -> list[tuple[Any, str]]:
    """Arrays and scalars, which `--eval-bleu` keeps in the meters; and what older fairseqs call their meters."""
    old = [(c, f"fairseq.meters.{c.__name__}") for c in _fairseq_types() if issubclass(c, meters.Meter)]
    return old + plain_arrays.replacements()


def refusal(source: str | Path, error: pickle.UnpicklingError) -> UnsafeCheckpointError:
    """Return the error that says what in the file is not allowed, or that it is not a readable checkpoint."""
    needs = _missing(source, error)
    if not needs:
        # torch first advises to switch safe unpickling off; what it found wrong stands behind this word
        what = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        reason = what[1] if what else (str(error).splitlines() or ["damaged"])[0]
        return UnsafeCheckpointError(f"{source}: not a checkpoint that loads safely ({reason.strip()})")
    return UnsafeCheckpointError(
        f"{source}: not loaded, and none of its code was run: it needs {', '.join(needs)}, which fairseq checkpoints "
        f"normally do not; if you trust its source, call torch.serialization.add_safe_globals([{', '.join(needs)}]) "
        "in a --user-dir."
    )


def _missing(source: str | Path, error: pickle.UnpicklingError) -> list[str]:
    """Return the full names that the file needs and that are not allowed, without running any of its code."""
    with contextlib.suppress(Exception):  # an old file format: only the first name is known, from the error
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source))
    return re.findall(r"GLOBAL (\S+)", str(error))[:1]
