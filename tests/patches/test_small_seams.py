"""The small seams: numpy 2, bf16, CPU precision, unknown model, task of the checkpoint, and applying twice."""

import logging
import re
import warnings
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import models, options, trainer
from fairseq.data import LanguagePairDataset, ListDataset, TokenBlockDataset
from fairseq.data.dictionary import Dictionary
from omegaconf import OmegaConf

from b2t_fairseq import patches
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.patches.fixes import cpu_precision


def lines(count):
    return ListDataset([torch.arange(4, 6 + i % 3) for i in range(count)], np.array([2 + i % 3 for i in range(count)]))


def test_numpy_2_blocks_by_eos():
    data = lines(5)
    blocks = TokenBlockDataset(data, data.sizes, None, pad=1, eos=2, break_mode="eos")
    assert [len(block) for block in blocks] == [2, 3, 4, 2, 3]


def test_numpy_2_buckets():
    data, words = lines(5), Dictionary()
    pairs = LanguagePairDataset(data, data.sizes, words, num_buckets=2)
    assert len(pairs.buckets) == 2


def test_numpy_2_name_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        patches.numpy2.apply()
        assert np.dtype(np.compat.long) == np.int64


def test_bf16_is_not_a_wish_for_a_tpu(data):
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(
        parser, [str(data), "--arch", "transformer_tiny", "--bf16", "--optimizer", "adam"]
    )
    assert args.bf16 and not args.tpu


@pytest.mark.slow
def test_bf16_trains(data, run, tiny_model, tmp_path):
    run("fairseq-train", data, *tiny_model, "--bf16", "--max-update", "2", "--save-dir", tmp_path)
    model = load_checkpoint(tmp_path / "checkpoint_last.pt")["model"]
    assert model["encoder.layers.0.fc1.weight"].isfinite().all()


def on_cpu(**common):
    return OmegaConf.create(
        {
            "common": {
                "tpu": False,
                "cpu": True,
                "fp16": False,
                "amp": False,
                "memory_efficient_fp16": False,
                **common,
            },
            "distributed_training": {"distributed_world_size": 1},
        }
    )


@pytest.fixture
def trainer_init(monkeypatch):
    """What fairseq's own constructor gets to see."""
    seen = []
    seam = trainer.Trainer.__init__
    while hasattr(seam, "__wrapped__"):
        inner = seam.__wrapped__
        cell = next(c for c in seam.__closure__ if c.cell_contents is inner)
        if not hasattr(inner, "__wrapped__"):

            def constructor(self, cfg, task, model, criterion):
                self._criterion = criterion
                seen.append(cfg)

            monkeypatch.setattr(cell, "cell_contents", constructor)
            break
        seam = inner
    return seen


def test_fp16_on_cpu_is_refused(trainer_init):
    with pytest.raises(UserError, match="--fp16 .*--bf16"):
        trainer.Trainer(on_cpu(fp16=True), None, None, None)
    trainer.Trainer(on_cpu(fp16=True, memory_efficient_fp16=True), None, None, None)
    assert len(trainer_init) == 1


@pytest.mark.parametrize("is_fast", [True, False])
def test_amp_on_cpu_is_autocast_to_bfloat16(trainer_init, caplog, monkeypatch, is_fast):
    monkeypatch.setattr(cpu_precision, "has_fast_bf16", lambda: is_fast)
    layer = torch.nn.Linear(3, 2)
    with caplog.at_level(logging.INFO):
        trainer.Trainer(on_cpu(amp=True), None, None, layer)
    assert trainer_init[0].common.amp is False  # fairseq's own form is CUDA's
    assert layer(torch.ones(1, 3)).dtype == torch.bfloat16 and layer.weight.dtype == torch.float32
    said = [r.getMessage() for r in caplog.records if "--amp" in r.getMessage()]
    assert len(said) == (1 if is_fast else 2) and ("no fast bfloat16" in said[-1]) is not is_fast


def test_one_of_several_launched_processes_does_not_train_alone(trainer_init, monkeypatch):
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="one of 2 processes"):
        trainer.Trainer(on_cpu(), None, None, None)
    assert not trainer_init


@pytest.mark.parametrize("cfg", [Namespace(arch="no_such_model"), OmegaConf.create({"_name": "no_such_model"})])
def test_unknown_model_is_named(cfg):
    with pytest.raises(UserError, match="'no_such_model'.*--user-dir"):
        models.build_model(cfg, SimpleNamespace())


@pytest.mark.slow
def test_task_comes_from_the_checkpoint(trained, data):
    arguments = [str(data), "--path", str(trained.last), "--max-tokens", "100"]
    args = options.parse_args_and_arch(options.get_validation_parser(), arguments)
    assert args.task == "translation"
    args = options.parse_args_and_arch(options.get_validation_parser(), [*arguments, "--task", "language_modeling"])
    assert args.task == "language_modeling"


def test_validation_without_model_or_task():
    with pytest.raises(UserError, match="--path"):
        options.parse_args_and_arch(options.get_validation_parser(), ["somewhere", "--max-tokens", "100"])


def test_applying_twice_wraps_once():
    from fairseq.data import data_utils

    before = data_utils.batch_by_size, trainer.Trainer.__init__, options.parse_args_and_arch, models.build_model
    patches.apply()
    assert before == (
        data_utils.batch_by_size, trainer.Trainer.__init__, options.parse_args_and_arch, models.build_model
    )  # fmt: skip


def test_every_seam_says_what_why_and_until_when():
    for patch in patches.PATCHES:
        wanted = r"Without it.*Versions:.*Unnecessary:" if ".fixes." in patch.__name__ else r"Versions:"
        assert re.search(wanted, patch.__doc__, re.DOTALL), patch.__name__


@pytest.mark.slow
def test_commands_are_quiet(trained, data, run, tmp_path):
    (tmp_path / "input").write_text("w1 w2 w3\n")
    model = ["--path", trained.last, "--cpu", "--beam", "1", "--max-len-b", "3"]
    assert "H-0\t" in run("fairseq-interactive", data, *model, "--input", tmp_path / "input").stdout
    assert (
        run("fairseq-generate", data, *model, "--max-tokens", "100", "--gen-subset", "test4").stdout.count("\nH-") == 5
    )
