"""Let several CPU processes train one model.

Without it: on a machine without a GPU, several processes train several models, or none.
- `torchrun --nproc_per_node 2 fairseq-train ..` starts two unrelated trainings that write into the same directory, as
  the world size defaults to the number of GPUs; with `--distributed-world-size 2` it divides by the number of GPUs;
  with `--distributed-init-method env://` every process takes itself for rank 0 and waits for ever;
- `fairseq-train --distributed-world-size 2` fails an assertion, and with an init method given it starts no process at
  all and exits with status 0, nothing trained;
- `--ddp-backend pytorch_ddp`, the default, hands `device_ids` to a CPU module, which torch refuses;
- the default communication backend is nccl, which needs GPUs.
Versions: every fairseq so far; any torch.
Unnecessary: once `fairseq.distributed.utils` counts processes instead of GPUs.

The plugin must be imported before fairseq sets up its processes: `--user-dir` does that for every command but stock
`fairseq-hydra-train`, which reads its user dir afterwards. There a run under torchrun is refused instead of being
trained twice; `b2t-fairseq hydra-train` imports the plugin first and works.
"""

import os
import socket
import sys

import torch
from fairseq import trainer
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model

from ...common.errors import UserError
from ..wrap import wrap

LAUNCHED = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")  # what torchrun leaves in the environment


def apply() -> None:
    wrap(distributed_utils, "call_main", __name__, _make_call_main)
    wrap(distributed_fairseq_model, "DistributedDataParallel", __name__, _make_ddp)
    wrap(trainer.Trainer, "__init__", __name__, _make_trainer_init)


def _on_cpu(cfg) -> bool:
    return not cfg.common.tpu and (cfg.common.cpu or not torch.cuda.is_available())


def _launched_processes() -> int:
    """Return how many processes torchrun (or the like) started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if all(os.environ.get(name) for name in LAUNCHED) else 1


def _make_call_main(original):
    def call_main(cfg, main, **kwargs):
        if not _on_cpu(cfg):
            return original(cfg, main, **kwargs)
        dist = cfg.distributed_training
        if dist.distributed_backend == "nccl":
            dist.distributed_backend = "gloo"
        if _joins_launched(cfg):
            dist.distributed_init_method, dist.distributed_no_spawn = "env://", True
            dist.distributed_world_size, dist.distributed_rank = _launched_processes(), int(os.environ["RANK"])
        elif dist.distributed_world_size > 1 or dist.distributed_init_method is not None:
            if dist.distributed_init_method is None:
                _find_init_method(dist)
            if not dist.distributed_no_spawn:
                return _spawn(cfg, main, kwargs)
        if dist.distributed_world_size > 1:
            dist.device_id = 0  # the CPU; a local rank here would be taken for a GPU
        return original(cfg, main, **kwargs)

    return call_main


def _joins_launched(cfg) -> bool:
    """Return whether this process should become one rank of the job that torchrun started."""
    dist = cfg.distributed_training
    if _launched_processes() == 1:
        return False
    if dist.distributed_no_spawn and dist.distributed_init_method not in (None, "env://"):
        return False  # the user gives rank and rendezvous
    # Only a command that trains has a model to build; generation and validation stay as they are, one job a process,
    # unless a world size asks for more.
    return dist.distributed_world_size > 1 or cfg.get("model") is not None


def _find_init_method(dist) -> None:
    # the port is what fairseq asks for in a job of several SLURM nodes
    if dist.distributed_port > 0 and distributed_utils._infer_slurm_init(dist, None):
        return
    if dist.distributed_port <= 0:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            dist.distributed_port = free.getsockname()[1]
    dist.distributed_init_method = f"tcp://localhost:{dist.distributed_port}"


def _spawn(cfg, main, kwargs) -> None:
    dist = cfg.distributed_training
    # Data loader workers inside spawned processes make Python's resource tracker, a process of its own, warn at the end
    # about semaphores that it then cleans up itself; it takes its filters from the interpreter's options.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    kwargs["start_rank"], dist.distributed_rank = dist.distributed_rank, None  # each process adds its own number
    torch.multiprocessing.spawn(
        fn=distributed_utils.distributed_main,
        args=(main, cfg, kwargs),
        nprocs=dist.distributed_world_size,
        join=True,
    )


def _make_ddp(original):
    class DistributedDataParallel(original):
        def __init__(self, module, device_ids=None, output_device=None, **kwargs):
            if not any(p.is_cuda for p in module.parameters()):
                device_ids = output_device = None
            super().__init__(module, device_ids=device_ids, output_device=output_device, **kwargs)

    return DistributedDataParallel


def _make_trainer_init(original):
    def __init__(self, cfg, *args, **kwargs):
        common = getattr(cfg, "common", None)
        if common is not None and _on_cpu(cfg) and _launched_processes() > 1:
            alone = cfg.distributed_training.distributed_world_size == 1
            if alone and not torch.distributed.is_initialized():
                raise UserError(
                    f"This is one of {_launched_processes()} processes, each about to train a model of its own: start "
                    "fairseq-hydra-train as `-m b2t_fairseq hydra-train`, which joins them."
                )
        original(self, cfg, *args, **kwargs)

    return __init__
