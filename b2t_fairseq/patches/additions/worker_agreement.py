"""Compare what all workers of a training are about to train, and refuse a difference.

Without it: a worker that was started with another connection, seed, learning rate or other data trains along; gradients
of different models are averaged without a word.
Versions: every fairseq so far.

They compare the model's signature, its vocabulary, all arguments but those that may differ, and the data: the
validation sets before a checkpoint is loaded, the training set when it is there.
"""

import time
import zlib
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils
from omegaconf import DictConfig, OmegaConf

from ...common.errors import UserError
from ..wrap import wrap

#: arguments that say where or how a worker runs, and not what it trains
PLACES = ("distributed_rank", "device_id", "distributed_port", "distributed_init_method", "distributed_num_procs")
PLACES += ("distributed_no_spawn", "nprocs_per_node", "local_rank", "user_dir", "connection_module", "data")
SPEED_AND_LOG = ("num_workers", "data_buffer_size", "empty_cache_freq", "plasma_path", "log_file", "log_format")
SPEED_AND_LOG += ("log_interval", "no_progress_bar", "tensorboard_logdir", "wandb_project", "azureml_logging")
SPEED_AND_LOG += ("aim_repo", "aim_run_hash", "job_logging_cfg", "suppress_crashes", "checkpoint_suffix")
MAY_DIFFER = frozenset(PLACES + SPEED_AND_LOG)
SAID_BY_THE_FIRST = 2.0  # seconds that the other workers leave it to say why all of them end


def apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint", __name__, _make)


def _make(original):
    def load_checkpoint(cfg, trainer, **passthrough_args):
        if trainer.data_parallel_world_size == 1 or not torch.distributed.is_initialized():
            return original(cfg, trainer, **passthrough_args)
        compare({**arguments(trainer.cfg), **model_facts(trainer), **data_facts(trainer.task)})
        loaded = original(cfg, trainer, **passthrough_args)
        compare(data_facts(trainer.task))
        return loaded

    return load_checkpoint


def compare(facts: Mapping[str, str]) -> None:
    """Compare this worker's facts with all others'.

    Raises:
        UserError: in the first worker, if there is a difference; the others leave with status 2.
    """
    all_facts = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(all_facts, dict(facts))
    line = difference(all_facts)
    if line is None:
        return
    if torch.distributed.get_rank() > 0:
        time.sleep(SAID_BY_THE_FIRST)
        raise SystemExit(2)
    raise UserError(line)


def difference(all_facts: list[Mapping[str, str]]) -> str | None:
    """Return what differs between the workers, as one line; None if nothing does."""
    names = dict.fromkeys(name for facts in all_facts for name in facts)
    different = [name for name in names if len({facts.get(name, "nothing") for facts in all_facts}) > 1]
    if not different:
        return None
    groups: dict[str, list[int]] = {}
    for rank, facts in enumerate(all_facts):
        groups.setdefault(facts.get(different[0], "nothing"), []).append(rank)
    shown = ", ".join(f"{value} on {_ranks(ranks)}" for value, ranks in groups.items())
    more = f" (also different: {', '.join(different[1:6])})" if different[1:] else ""
    return f"the workers would train different models: {different[0]} is {shown}{more}; start all with the same command"


def _ranks(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"


def arguments(cfg: Any) -> dict[str, str]:
    """Return the arguments that matter, by the names of their options."""
    return dict(sorted(_flat(OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else cfg).items()))


def _flat(values: Any, group: str = "") -> dict[str, str]:
    options = {}
    for name, value in (vars(values) if isinstance(values, Namespace) else values).items():
        if name in MAY_DIFFER:
            continue
        if isinstance(value, (Mapping, Namespace)):
            options |= _flat(value, name)
        else:
            options["--" + (group if name == "_name" else name).replace("_", "-")] = str(value)
    return options


def model_facts(trainer: Any) -> dict[str, str]:
    """Return the signature and vocabulary of a model of ours, and any model's parameter shapes."""
    model = trainer._model
    shapes = repr([(name, tuple(value.shape)) for name, value in model.named_parameters()])
    facts = {name: str(getattr(model, name)) for name in ("signature", "vocabulary") if getattr(model, name, None)}
    return {**facts, "the parameters' shapes": f"{zlib.crc32(shapes.encode()):08x}"}


def data_facts(task: Any) -> dict[str, str]:
    """How much data each split has: examples, tokens (or frames), and a checksum of their lengths."""
    return {f"the data of '{split}'": _size(dataset) for split, dataset in getattr(task, "datasets", {}).items()}


def _size(dataset: Any) -> str:
    if not hasattr(dataset, "__len__"):
        return type(dataset).__name__
    sizes = getattr(dataset, "sizes", None)
    if sizes is None:
        return f"{len(dataset):,} examples"
    sizes = np.ascontiguousarray(sizes, dtype=np.int64)
    return f"{len(dataset):,} examples of {int(sizes.sum()):,} tokens (lengths {zlib.crc32(sizes.tobytes()):08x})"
