"""Checkpoints are loaded by torch's safe unpickler, with a list of what fairseq's may hold.

Safe unpickling is never switched off: `allowed` names what fairseq checkpoints really hold, data types all of them.
Nothing on it runs code on loading. A file that needs more is refused, and the message says what it needs.
"""

import argparse
import collections
import contextlib
import enum
import pickle
import re
import typing
from pathlib import Path
from typing import Any

import numpy as np
import omegaconf
import torch
from fairseq.dataclass import FairseqDataclass, configs, constants
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import meters

from ..common.errors import UserError
from . import integrity

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
    """Read a checkpoint into CPU memory by the safe unpickler.

    Args:
        path: the file.
        mapped: only look: the tensors stay on the disk, and the file's digest is not checked.

    Raises:
        UserError: if the file cannot be read, is damaged, or needs more than the allow-list (`UnsafeCheckpointError`).
    """
    if not HAS_ALLOW_LIST:
        raise UserError(f"{path}: torch {torch.__version__} cannot load checkpoints safely; install torch >= 2.4.")
    allow_listed()
    try:
        if not mapped:
            integrity.check(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except integrity.DamagedCheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise refusal(path, error) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # what a damaged file makes torch raise depends on where it is damaged
        why = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a whole checkpoint file ({type(error).__name__} {why}).") from None
    if not isinstance(state, dict) or "model" not in state:
        raise UserError(f"{path}: not a fairseq checkpoint (no 'model' in it).")
    return state


def allowed() -> list:
    """What a fairseq checkpoint may hold besides tensors and plain containers."""
    types = [argparse.Namespace, collections.defaultdict, collections.OrderedDict, dict, list, set, int, float, str]
    types += [bool, tuple, typing.Any, *_omegaconf_types(), *_fairseq_types(), *_numpy_types()]
    # a module path that differs from the object's own needs a pair, which torch 2.4 and 2.5 do not take
    return types + (_moved_names() if TORCH >= (2, 6) else [])


def _omegaconf_types() -> list:
    """Configurations travel as omegaconf objects when rank 0 sends a checkpoint to the other ranks."""
    nodes = [c for c in vars(omegaconf.nodes).values() if isinstance(c, type) and issubclass(c, omegaconf.Node)]
    base = omegaconf.base
    names = ("Metadata", "ContainerMetadata", "UnionNode")  # UnionNode: omegaconf >= 2.2
    return [*nodes, omegaconf.DictConfig, omegaconf.ListConfig, *(getattr(base, n) for n in names if hasattr(base, n))]


def _fairseq_types() -> list:
    """The broadcast's own placeholder, configuration dataclasses, enums, and the meters of old checkpoints."""
    kinds = [(configs, FairseqDataclass), (constants, enum.Enum), (meters, meters.Meter)]
    found = [c for module, base in kinds for c in vars(module).values() if isinstance(c, type) and issubclass(c, base)]
    placeholder = getattr(distributed_utils, "_TensorPlaceholder", None)
    return [*found, *([placeholder] if placeholder else [])]


def _numpy_types() -> list:
    """Arrays and scalars: `--eval-bleu` keeps its counts in the meters as numpy arrays."""
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"]}
    return [np.ndarray, np.dtype, *dtypes, *_numpy_functions().values()]


def _numpy_functions() -> dict[str, Any]:
    core = getattr(np, "_core", None) or np.core  # numpy 2 renamed it, and np.core warns there
    return {"_reconstruct": core.multiarray._reconstruct, "scalar": core.multiarray.scalar}


def _moved_names() -> list[tuple[Any, str]]:
    """Names that other versions of numpy and fairseq write for the same things."""
    moved = [(f, f"numpy.{core}.multiarray.{n}") for core in ("core", "_core") for n, f in _numpy_functions().items()]
    return moved + [(c, f"fairseq.meters.{c.__name__}") for c in _fairseq_types() if issubclass(c, meters.Meter)]


def refusal(source: str | Path, error: pickle.UnpicklingError) -> UnsafeCheckpointError:
    needs = _missing(source, error)
    if not needs:
        return UnsafeCheckpointError(f"{source}: not a checkpoint that loads safely ({str(error).splitlines()[0]})")
    return UnsafeCheckpointError(
        f"{source}: not loaded, and none of its code was run: it needs {', '.join(needs)}, which fairseq checkpoints "
        f"normally do not; if you trust its source, call torch.serialization.add_safe_globals([{', '.join(needs)}]) "
        "in a --user-dir."
    )


def _missing(source: str | Path, error: pickle.UnpicklingError) -> list[str]:
    """The full names that the file needs and that are not allowed; read without running anything."""
    with contextlib.suppress(Exception):  # an old file format: only the first name is known, from the error
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source))
    return re.findall(r"GLOBAL (\S+)", str(error))[:1]
