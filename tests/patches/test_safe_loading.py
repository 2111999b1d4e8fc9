"""Checkpoints load with safe unpickling on, and nothing else does."""

import argparse
import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import meters
from omegaconf import OmegaConf
from torch._weights_only_unpickler import Unpickler

from b2t_fairseq.checkpoints.loading import UnsafeCheckpointError, load_checkpoint
from b2t_fairseq.common.errors import UserError


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def through_memory(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(a=1, b=[None, {"c": 2.0}]),
        collections.OrderedDict(a=1),
        np.float64(1.5),
        np.int64(3),
        np.arange(6.0).reshape(2, 3),
        np.array([1, 2], dtype=np.int32),
        np.array([True, False]),
        OmegaConf.create({"a": [1, "x", None, 2.5], "n": argparse.Namespace(k=1)}, flags={"allow_objects": True}),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_what_checkpoints_hold_loads(value):
    loaded = through_memory({"value": value})["value"]
    assert isinstance(loaded, type(value))
    assert np.array_equal(loaded, value) if isinstance(value, np.ndarray) else loaded == value


def test_structured_configuration_loads():
    loaded = through_memory(OmegaConf.create({"common": OmegaConf.structured(FairseqConfig().checkpoint)}))
    assert loaded.common.save_dir == "checkpoints"


def test_meters_of_old_checkpoints_load():
    meter = meters.AverageMeter()
    meter.update(3.0)
    assert through_memory({"train_meters": meter})["train_meters"].avg == 3.0


def test_names_of_numpy_1_load():
    pickled = pickle.dumps(np.arange(3.0), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert Unpickler(io.BytesIO(pickled)).load().tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("load", [load_checkpoint, checkpoint_utils.load_checkpoint_to_cpu,
                                  checkpoint_utils.load_ema_from_checkpoint])  # fmt: skip
def test_code_is_refused_and_not_run(tmp_path, load):
    trace, path = tmp_path / "ran", str(tmp_path / "bad.pt")
    torch.save({"model": {}, "extra_state": Attack(trace)}, path)
    with pytest.raises(UnsafeCheckpointError) as refusal:
        load(path)
    assert not trace.exists()
    message = str(refusal.value)
    assert path in message and "posix.system" in message and "torch.serialization.add_safe_globals" in message
    assert "\n" not in message


def test_torch_load_of_others_is_untouched(tmp_path):
    assert torch.load.__module__ == "torch.serialization"
    torch.save(Attack(tmp_path / "ran"), tmp_path / "bad.pt")
    with pytest.raises(pickle.UnpicklingError) as refusal:
        torch.load(tmp_path / "bad.pt")
    assert not isinstance(refusal.value, UnsafeCheckpointError)


def test_broadcast_is_safe_too(tmp_path, monkeypatch):
    """Rank 1's half of fairseq's broadcast: the bytes come from rank 0."""

    def receive(value):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        sent = [torch.LongTensor([len(buffer.getvalue())]), torch.ByteTensor(list(buffer.getvalue()))]
        monkeypatch.setattr(distributed_utils, "get_rank", lambda group: 1)
        monkeypatch.setattr(distributed_utils, "broadcast", lambda tensor, src, group: tensor.copy_(sent.pop(0)))
        return distributed_utils._broadcast_object_slow(None, 0, None, torch.device("cpu"))

    args = argparse.Namespace(a=1)
    cfg = OmegaConf.create({"model": args}, flags={"allow_objects": True})
    received = receive({"cfg": cfg, "w": distributed_utils._TensorPlaceholder(index=3)})
    assert received["cfg"].model == args and received["w"].index == 3
    with pytest.raises(UnsafeCheckpointError, match="rank 0.*posix.system"):
        receive(Attack(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_broken_files_get_one_sentence(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="checkpoint.pt") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_checkpoint_of_a_run_with_bleu_and_ema(trained):
    state = load_checkpoint(trained.last)
    assert isinstance(state["cfg"]["model"], argparse.Namespace)
    trusted = checkpoint_utils.load_checkpoint_to_cpu(
        str(trained.last), {"trust_checkpoint": True}
    )  # keeps all options
    assert trusted["cfg"].model == state["cfg"]["model"]
    ema = checkpoint_utils.load_ema_from_checkpoint(str(trained.last))
    assert ema["model"].keys() <= state["model"].keys()
    assert {p.name for p in Path(trained.folder).iterdir()} >= {
        "checkpoint1.pt",
        "checkpoint2.pt",
        "checkpoint_best.pt",
    }


@pytest.mark.slow
def test_training_goes_on(trained, run, tmp_path):
    arguments = list(map(str, trained.arguments))
    arguments[arguments.index("--save-dir") + 1] = str(tmp_path)
    done = run("fairseq-train", *arguments, "--max-epoch", "3", "--restore-file", trained.last)
    assert "Loaded checkpoint" in done.stdout and "epoch 003 | valid" in done.stdout.replace("\n", " ")
