"""Several CPU processes train one model."""

import re
import sys
from pathlib import Path

import pytest
import torch
from end_to_end import free_port
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from omegaconf import OmegaConf

from b2t_fairseq.checkpoints.loading import load_checkpoint


def config(model="something", **distributed):
    processes = {"distributed_world_size": 1, "distributed_rank": 0, "distributed_no_spawn": False, "device_id": 0}
    meeting = {"distributed_backend": "nccl", "distributed_init_method": None, "distributed_port": -1}
    other = {"tpu": False, "pipeline_model_parallel": False}
    dist = {**processes, **meeting, **other, **distributed}
    return OmegaConf.create({"common": {"tpu": False, "cpu": True}, "model": model, "distributed_training": dist})


@pytest.fixture
def launched(monkeypatch):
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def started(monkeypatch):
    """Which processes fairseq would start, as (kind, configuration); none is."""
    calls = []
    monkeypatch.setattr(distributed_utils, "distributed_main", lambda i, main, cfg, kwargs: calls.append(("rank", cfg)))
    monkeypatch.setattr(torch.multiprocessing, "spawn", lambda fn, args, nprocs, join: calls.append((nprocs, args[1])))
    return calls


@pytest.mark.parametrize("given", [{}, {"distributed_world_size": 2}, {"distributed_init_method": "env://"},
                                   {"distributed_init_method": "env://", "distributed_no_spawn": True}])  # fmt: skip
def test_a_launched_process_joins(launched, started, given):
    distributed_utils.call_main(config(**given), lambda cfg: started.append(("alone", cfg)))
    ((kind, cfg),) = started
    dist = cfg.distributed_training
    assert kind == "rank"
    assert (dist.distributed_world_size, dist.distributed_rank, dist.distributed_backend) == (2, 1, "gloo")
    assert dist.distributed_init_method == "env://"


def test_a_launched_generation_stays_alone(launched, started):
    distributed_utils.call_main(config(model=None), lambda cfg: started.append(("alone", cfg)))
    assert [kind for kind, _ in started] == ["alone"]


def test_rank_and_rendezvous_given_by_hand_are_kept(launched, started):
    by_hand = {"distributed_init_method": "tcp://localhost:7", "distributed_no_spawn": True}
    cfg = config(**by_hand, distributed_world_size=4, distributed_rank=3)
    distributed_utils.call_main(cfg, None)
    assert (cfg.distributed_training.distributed_rank, cfg.distributed_training.distributed_world_size) == (3, 4)
    assert [kind for kind, _ in started] == ["rank"]


@pytest.mark.parametrize("method", [None, "tcp://localhost:7"])
def test_processes_are_started_without_a_launcher(started, method):
    distributed_utils.call_main(config(distributed_world_size=3, distributed_init_method=method), None)
    ((processes, cfg),) = started
    assert processes == 3
    assert cfg.distributed_training.distributed_init_method.startswith("tcp://localhost:")


def test_one_process_stays_one(started):
    distributed_utils.call_main(config(), lambda cfg: started.append(("alone", cfg)))
    assert [kind for kind, _ in started] == ["alone"]


def test_pytorch_ddp_takes_a_cpu_module(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    try:
        ddp = distributed_fairseq_model.DistributedDataParallel(torch.nn.Linear(2, 2), device_ids=[0], output_device=0)
        assert ddp(torch.ones(1, 2)).shape == (1, 2)
        assert isinstance(ddp, torch.nn.parallel.DistributedDataParallel)
    finally:
        torch.distributed.destroy_process_group()


def valid_loss(output):
    return float(re.findall(r"\| valid .*? loss ([\d.]+)", output)[-1])


@pytest.mark.slow
def test_torchrun_trains_and_resumes_one_model(data, run, tiny_model, tmp_path):
    def train(epochs):
        train = Path(sys.executable).parent / "fairseq-train"
        launch = ["--nproc_per_node", "2", "--master_port", free_port(), train]
        bleu = ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 5}']
        return run("torchrun", *launch, data, *tiny_model, *bleu, "--save-dir", tmp_path, "--max-epoch", epochs).stdout

    first = train(1)
    assert first.count("training on 2 devices") == 1 and "training on 1 devices" not in first
    assert first.count("begin validation on") == 1  # only rank 0 logs
    second = train(2)
    assert "Loaded checkpoint" in second and "epoch 002" in second
    assert load_checkpoint(tmp_path / "checkpoint_last.pt")["extra_state"]["train_iterator"]["epoch"] == 3

    # the two ranks saw all 13 validation sentences: one process alone finds the same loss; the task is the checkpoint's
    model = ["--path", tmp_path / "checkpoint_last.pt", "--max-tokens", "200", "--cpu"]
    alone = run("fairseq-validate", data, *model).stdout
    assert valid_loss(alone) == pytest.approx(valid_loss(second), abs=2e-3)
    assert "bsz 13" in alone


@pytest.mark.slow
def test_world_size_without_a_launcher_trains(data, run, tiny_model, tmp_path):
    done = run(
        "fairseq-train", data, *tiny_model, "--distributed-world-size", "2", "--max-epoch", "1", "--save-dir", tmp_path
    )
    assert "training on 2 devices" in done.stdout
    assert (tmp_path / "checkpoint_last.pt").exists()
