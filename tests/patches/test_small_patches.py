"""The small patches: each has a test that fails without it, here or in a file of its own."""

import argparse
import builtins
import logging
import math
import os
import signal
import socket
import sys
import warnings
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils, models, options, trainer
from fairseq.data import LanguagePairDataset, ListDataset, TokenBlockDataset
from fairseq.data.dictionary import Dictionary
from fairseq.tasks.fairseq_task import FairseqTask
from fairseq.tasks.language_modeling import LanguageModelingTask
from omegaconf import OmegaConf

from b2t_fairseq import patches
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.common.files import read_record
from b2t_fairseq.common.logs import quiet_imports
from b2t_fairseq.connections import CONNECTIONS
from b2t_fairseq.models import methods
from b2t_fairseq.patches.additions import stop_on_sigterm
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


@pytest.mark.slow
def test_adam_and_adam_fused_go_on_with_each_other(data, run, tiny_model, tmp_path):
    """Also with a checkpoint of `adam_fused` from when its class had a name of its own."""
    kept = "--no-epoch-checkpoints", "--save-dir", tmp_path
    for update, optimizer in enumerate(("adam", "adam_fused", "adam"), 1):
        run("fairseq-train", data, *tiny_model, *kept, "--optimizer", optimizer, "--max-update", update)
        state = load_checkpoint(tmp_path / "checkpoint_last.pt")
        assert state["optimizer_history"][-1]["num_updates"] == update
        assert {moments["step"] for moments in state["last_optimizer_state"]["state"].values()} == {update}
    state["optimizer_history"][-1]["optimizer_name"] = "FairseqFusedAdam"
    torch.save(state, tmp_path / "checkpoint_last.pt")
    run("fairseq-train", data, *tiny_model, *kept, "--optimizer", "adam_fused", "--max-update", "4")


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


def replace_original(owner, name, original, monkeypatch):
    """Put `original` in the place of fairseq's own function, below all patches."""
    patch = getattr(owner, name)
    while hasattr(patch.__wrapped__, "__wrapped__"):
        patch = patch.__wrapped__
    cell = next(cell for cell in patch.__closure__ if cell.cell_contents is patch.__wrapped__)
    monkeypatch.setattr(cell, "cell_contents", original)


@pytest.fixture
def trainer_init(monkeypatch):
    """Return the configurations that fairseq's own constructor gets."""
    seen = []

    def constructor(self, cfg, task, model, criterion):
        self._criterion = criterion
        seen.append(cfg)

    replace_original(trainer.Trainer, "__init__", constructor, monkeypatch)
    return seen


def test_fp16_on_cpu_is_refused(trainer_init):
    with pytest.raises(UserError, match="--fp16 .*--bf16"):
        trainer.Trainer(on_cpu(fp16=True), None, torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    trainer.Trainer(on_cpu(fp16=True, memory_efficient_fp16=True), None, torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    assert len(trainer_init) == 1


@pytest.mark.parametrize("is_fast", [True, False])
def test_amp_on_cpu_is_autocast_to_bfloat16(trainer_init, caplog, monkeypatch, is_fast):
    monkeypatch.setattr(cpu_precision, "has_fast_bf16", lambda: is_fast)
    layer = torch.nn.Linear(3, 2)
    with caplog.at_level(logging.INFO):
        trainer.Trainer(on_cpu(amp=True), None, torch.nn.Linear(1, 1), layer)
    assert trainer_init[0].common.amp is False  # fairseq's own form is CUDA's
    assert layer(torch.ones(1, 3)).dtype == torch.bfloat16 and layer.weight.dtype == torch.float32
    said = [r.getMessage() for r in caplog.records if "--amp" in r.getMessage()]
    assert len(said) == (1 if is_fast else 2) and ("no fast bfloat16" in said[-1]) is not is_fast


def test_one_of_several_launched_processes_does_not_train_alone(trainer_init, monkeypatch):
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="one of 2 processes"):
        trainer.Trainer(on_cpu(), None, torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
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


def test_windows_without_room_for_text_are_refused():
    task = SimpleNamespace(args=Namespace(tokens_per_sample=0, sample_break_mode="none"))
    with pytest.raises(UserError, match="--context-window is 0"):
        LanguageModelingTask.load_dataset(task, "test")


def test_windows_longer_than_the_model_are_refused():
    task = SimpleNamespace(args=Namespace(tokens_per_sample=64, sample_break_mode="none"))
    with pytest.raises(UserError, match="has 32 positions"):
        LanguageModelingTask.eval_lm_dataloader(task, SimpleNamespace(sizes=[64, 9]), max_positions=32)


def test_batches_do_not_depend_on_the_epoch_in_which_a_training_starts():
    data, words = lines(60), Dictionary()
    task = SimpleNamespace(
        dataset_to_epoch_iter={},
        can_reuse_epoch_itr=lambda dataset: True,
        filter_indices_by_size=FairseqTask.filter_indices_by_size,
        cfg=None,
    )
    batches = []
    for epoch in (1, 2, 3):
        pairs = LanguagePairDataset(data, data.sizes, words)
        iterator = FairseqTask.get_batch_iterator(task, pairs, max_sentences=4, seed=7, epoch=epoch)
        batches.append([list(map(int, batch)) for batch in iterator.frozen_batches])
    assert batches[0] == batches[1] == batches[2]
    assert sorted(sum(batches[0], [])) == list(range(60)) != sum(batches[0], [])


def test_a_users_mistake_is_one_line_and_a_bug_keeps_its_traceback(capsys):
    sys.excepthook(UserError, UserError("--lr: too high"), None)
    assert capsys.readouterr().err == "error: --lr: too high\n"
    sys.excepthook(KeyError, KeyError("a bug"), None)
    assert "KeyError: 'a bug'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "noted", [{"connection_signature": "connection:post|layers:2-2"}, {"vocabulary": "9 pieces, 0"}]
)
def test_a_checkpoint_of_another_model_is_refused(noted, monkeypatch):
    """Resuming refuses it; loading for another purpose does not."""
    state = {"cfg": None, "args": Namespace(**noted), "model": {}}
    model = SimpleNamespace(signature="connection:b2t|layers:2-2", vocabulary="8 pieces, 1")
    training = SimpleNamespace(cfg=SimpleNamespace(model=Namespace()), _model=model)
    load = checkpoint_utils.load_checkpoint_to_cpu
    replace_original(checkpoint_utils, "load_checkpoint_to_cpu", lambda path, *_: state, monkeypatch)
    replace_original(
        trainer.Trainer,
        "load_checkpoint",
        lambda self, path: checkpoint_utils.load_checkpoint_to_cpu(path),
        monkeypatch,
    )
    with pytest.raises(UserError, match=r"last\.pt .*another (model|vocabulary)"):
        trainer.Trainer.load_checkpoint(training, "last.pt")
    assert training.cfg.model == Namespace(connection_signature=model.signature, vocabulary=model.vocabulary)
    assert load("last.pt") is state


def test_a_connection_module_is_imported_before_the_options_are_parsed(monkeypatch, tmp_path):
    (tmp_path / "mine_for_the_parser.py").write_text(
        "import builtins\nfrom b2t_fairseq.connections import Connection, register_connection\n"
        "builtins.b2t_imported = True\n@register_connection('for_the_parser')\nclass Mine(Connection): pass\n"
    )
    monkeypatch.setattr(builtins, "b2t_imported", False, raising=False)
    monkeypatch.setattr(methods, "OWN", {})
    seen = []
    replace_original(
        options, "parse_args_and_arch", lambda parser, rest: seen.append((rest, builtins.b2t_imported)), monkeypatch
    )
    given = ["data", "--connection-module", str(tmp_path / "mine_for_the_parser.py"), "--cpu"]
    try:
        options.parse_args_and_arch(argparse.ArgumentParser(), given)
    finally:
        del CONNECTIONS["for_the_parser"]
    assert seen == [(["data", "--cpu"], True)]  # a command that does not train has no such option


@pytest.fixture
def training(monkeypatch, tmp_path):
    """Return a stand-in for a trainer after update 3; what its `update` returns or raises is the update's result."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    replace_original(trainer.Trainer, "train_step", lambda self, samples: self.update(), monkeypatch)
    replace_original(trainer.Trainer, "get_train_iterator", lambda self, epoch: f"batches of {epoch}", monkeypatch)
    yield SimpleNamespace(
        update=lambda: {"loss": 2.5},
        get_num_updates=lambda: 3,
        data_parallel_world_size=1,
        data_parallel_rank=0,
        get_model=lambda: torch.nn.Linear(1, 1),
        cfg=OmegaConf.create(
            {"checkpoint": {"save_dir": str(tmp_path), "no_save": False}, "optimization": {"max_update": 9}}
        ),
    )
    for number, handler in handlers.items():
        signal.signal(number, handler)
    stop_on_sigterm._asked.clear()


def step(training):
    return trainer.Trainer.train_step(training, [])


@pytest.mark.parametrize("loss", [math.nan, math.inf, torch.tensor(math.nan)])
def test_a_loss_that_is_not_finite_ends_the_training(training, loss):
    assert step(training) == {"loss": 2.5}
    training.update = lambda: {"loss": loss}
    with pytest.raises(UserError, match="diverged after 3 updates: its loss became (nan|inf) .*--lr"):
        step(training)


def test_gradients_that_are_not_finite_end_the_training(training):
    def fails_twice():
        try:
            raise FloatingPointError("NaN in the gradients")
        except FloatingPointError:
            raise StopIteration  # fairseq's search for the cause  # noqa: B904

    training.update = fails_twice
    with pytest.raises(UserError, match="its gradients became NaN or infinite"):
        step(training)

    def underflows():
        raise FloatingPointError("Minimum loss scale reached (0.0001). Try lowering the learning rate.")

    training.update = underflows
    with pytest.raises(UserError, match=r"Minimum loss scale reached \(0.0001\)"):
        step(training)

    def has_a_bug():
        raise KeyError("a bug")

    training.update = has_a_bug
    with pytest.raises(KeyError, match="a bug"):
        step(training)


def test_sigterm_saves_after_the_update_and_exits(training, monkeypatch, tmp_path):
    saved = []
    monkeypatch.setattr(checkpoint_utils, "save_checkpoint", lambda *arguments: saved.append(arguments))

    def update():
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": 2.5}

    trainer.Trainer.get_train_iterator(training, 2)
    training.update = update
    with pytest.raises(SystemExit) as stop:
        step(training)
    assert stop.value.code == 75
    assert saved == [(training.cfg.checkpoint, training, "batches of 2", None)]
    marker = read_record(tmp_path / "preempted.json")
    assert marker == {"updates": 3, "host": socket.gethostname(), "pid": os.getpid()}
    assert [path.name for path in tmp_path.iterdir()] == ["preempted.json"]


@pytest.mark.slow
def test_commands_are_quiet(trained, data, run, tmp_path):
    (tmp_path / "input").write_text("w1 w2 w3\n")
    model = ["--path", trained.last, "--cpu", "--beam", "1", "--max-len-b", "3"]
    assert "H-0\t" in run("fairseq-interactive", data, *model, "--input", tmp_path / "input").stdout
    assert (
        run("fairseq-generate", data, *model, "--max-tokens", "100", "--gen-subset", "test4").stdout.count("\nH-") == 5
    )


def test_fairseqs_use_of_torchscript_is_not_our_users_to_mend():
    texts = "`torch.jit.script` is deprecated. Please switch to another.", "another is deprecated"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet_imports():
            for text in texts:
                warnings.warn(text, FutureWarning, stacklevel=1)
        warnings.warn(texts[0], FutureWarning, stacklevel=1)  # the user's own
    assert [str(each.message) for each in caught] == [texts[1], texts[0]]
