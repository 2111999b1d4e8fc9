"""Admin's profiling pass, inside fairseq's own trainer."""

import sys
from types import SimpleNamespace

import pytest
import torch
from end_to_end import shell
from fairseq import options, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer

from b2t_fairseq import cli
from b2t_fairseq.init.admin import profile, refresh_copies

TRAIN = (
    *("data", "--task", "translation", "--arch", "transformer_admin_12_12_tiny", "--encoder-layers", "3"),
    *("--decoder-layers", "2", "--optimizer", "adam", "--lr", "0.0", "--max-tokens", "20", "--cpu", "--seed", "7"),
    *("--criterion", "label_smoothed_cross_entropy", "--num-workers", "0"),
)
HALF = {
    "full": [],
    "bf16": ["--bf16"],
    "memory-efficient bf16": ["--memory-efficient-bf16"],
    "fp16": ["--fp16", "--fp16-no-flatten-grads"],
    "memory-efficient fp16": ["--memory-efficient-fp16"],
}


@pytest.fixture
def start(folder, monkeypatch):
    """Make a trainer and the micro-batches of its first updates, as fairseq-train does."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)  # fairseq's overflow handling needs a GPU

    def start(*arguments):
        args = options.parse_args_and_arch(options.get_training_parser(), [*TRAIN, *arguments])
        cfg = convert_namespace_to_omegaconf(args)
        utils.set_torch_seed(cfg.common.seed)
        task = tasks.setup_task(cfg.task)
        model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
        trainer = Trainer(cfg, task, model, criterion)
        trainer.begin_epoch(1)  # which makes the optimizer, and its copies of the parameters
        batches = trainer.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True)
        return trainer, list(batches)

    return start


def omegas(trainer) -> dict[str, torch.Tensor]:
    named = trainer.get_model().named_parameters()
    return {name: p.detach().float().clone() for name, p in named if ".omega." in name}


def expected_omegas(model, sample, dropout_seed: int | None = None) -> list[float]:
    """The recursion in plain torch, read off a forward pass that already uses the right omegas."""
    seen = {"encoder": [], "decoder": []}
    for side, found in seen.items():
        for layer in getattr(model, side).layers:
            for name in ("self_attn", "encoder_attn"):
                if hasattr(layer, name):
                    getattr(layer, name).register_forward_hook(
                        lambda m, inputs, output, found=found: found.append([inputs[0], output[0]])
                    )
            layer.fc1.register_forward_hook(lambda m, inputs, output, found=found: found.append([inputs[0]]))
            layer.fc2.register_forward_hook(lambda m, inputs, output, found=found: found[-1].append(output))
            layer.dropout_module.register_forward_hook(
                lambda m, inputs, output, found=found: found[-1].__setitem__(1, output)
            )
    if dropout_seed is not None:
        utils.set_torch_seed(dropout_seed)
    with torch.no_grad():
        model.train()(**sample["net_input"])
    expected = []
    for found in seen.values():
        r = torch.tensor(1.0)
        for x, f in found:
            expected.append(r.item())
            r = ((r * x - (r * x).mean()).square().mean() + (f - f.mean()).square().mean()).sqrt()
    return expected


@pytest.mark.parametrize("dropout", ["0.0", "0.4"])
def test_the_recursion_on_the_first_micro_batch(start, dropout):
    trainer, batches = start("--dropout", dropout, "--update-freq", "2")
    assert len(batches) > 2
    assert all((omega == 1).all() for omega in omegas(trainer).values())
    trainer.train_step(batches[:2])  # the learning rate is 0: what is there after the update was there before
    found = omegas(trainer)
    assert len(found) == 3 * 2 + 2 * 3
    assert all((omega == omega[0]).all() for omega in found.values())
    # the masks are those of the first update
    expected = expected_omegas(trainer.get_model(), batches[0], dropout_seed=7)
    assert [omega[0].item() for omega in found.values()] == pytest.approx(expected, rel=1e-5)
    assert expected[0] == expected[6] == 1.0
    assert len(set(expected)) == len(expected) - 1
    other = expected_omegas(trainer.get_model(), batches[1], dropout_seed=7)
    assert other != pytest.approx(expected, rel=1e-5)


def test_training_is_undisturbed(start):
    """The random state, the mode and the data are as without the pass."""
    trainer, batches = start("--dropout", "0.3")
    model = trainer.get_model().eval()
    state = torch.get_rng_state()
    profile(trainer, batches[:1])
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert type(model.encoder.layers.connection).__name__ == "Admin"


def test_layers_that_layerdrop_may_skip_take_part(start):
    trainer, batches = start("--encoder-layerdrop", "0.999")
    profile(trainer, batches[:1])
    assert len({omega[0].item() for name, omega in omegas(trainer).items() if "encoder" in name}) == 6
    assert trainer.get_model().encoder.layers.layerdrop == 0.999


@pytest.mark.parametrize("precision", HALF)
def test_half_precision_keeps_the_values(start, precision):
    """Without new float32 masters, the first update would bring the ones back."""
    trainer, batches = start(*HALF[precision], "--dropout", "0.0", "--update-freq", "2")
    trainer.train_step(batches[:2])
    full, _ = start("--dropout", "0.0")
    full.train_step(batches[:2])
    wanted = omegas(full)
    for name, omega in omegas(trainer).items():
        assert torch.allclose(omega, wanted[name], rtol=2e-2), name
    assert max(omega.max() for omega in wanted.values()) > 1.2


def test_a_flat_float32_copy_follows():
    """--fp16 on GPUs keeps all parameters of a device in one tensor."""
    params = [torch.nn.Parameter(torch.full((n,), 1.0 * n, dtype=torch.float16)) for n in (2, 3, 4)]
    flat = torch.nn.Parameter(torch.zeros(9))
    optimizer = SimpleNamespace(fp32_params={None: flat}, fp16_params=params)
    ema = SimpleNamespace(store_ema=False)
    refresh_copies(SimpleNamespace(optimizer=optimizer, cfg=SimpleNamespace(ema=ema)), params[1:2])
    assert flat.tolist() == [0, 0, 3, 3, 3, 0, 0, 0, 0]


def test_the_moving_average_follows(start):
    trainer, batches = start("--store-ema", "--ema-fp32", "--dropout", "0.0")
    assert trainer.ema.get_model() is not trainer.get_model()
    trainer.train_step(batches[:1])
    averaged = dict(trainer.ema.get_model().named_parameters())
    for name, omega in omegas(trainer).items():
        assert torch.allclose(averaged[name], omega)


def test_only_once(start):
    trainer, batches = start()
    trainer.train_step(batches[:1])
    before = omegas(trainer)
    trainer.set_num_updates(0)  # as after an overflow in the first update
    trainer.train_step(batches[1:2])
    assert all(torch.equal(before[name], omega) for name, omega in omegas(trainer).items())


@pytest.mark.parametrize("reset", [False, True])
def test_never_after_loading_a_checkpoint(start, folder, reset):
    trainer, batches = start()
    trainer.train_step(batches[:1])
    with torch.no_grad():
        for p in trainer.get_model().encoder.layers.connection.omega:
            p.add_(0.5)
    before = omegas(trainer)
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(folder / "saved.pt"), {"train_iterator": {"epoch": 1}})
    resumed, _ = start()
    # `reset`: what --finetune-from-model and --reset-optimizer do; the updates count from 0 again
    resumed.load_checkpoint(
        str(folder / "saved.pt"), reset_optimizer=reset, reset_lr_scheduler=reset, reset_meters=reset
    )
    assert resumed.get_num_updates() == (0 if reset else 1)
    resumed.train_step(batches[1:2])
    assert all(torch.equal(before[name], omega) for name, omega in omegas(resumed).items())


@pytest.mark.parametrize("init", ["default", "deepnet"])
def test_another_initialisation_leaves_the_ones(start, init):
    trainer, batches = start("--connection-init", init)
    trainer.train_step(batches[:1])
    assert all((omega == 1).all() for omega in omegas(trainer).values())


def test_a_filler_on_rank_0_is_not_the_batch(start):
    trainer, batches = start("--dropout", "0.0")
    trainer.train_step([{}, batches[2]])
    expected = expected_omegas(trainer.get_model(), batches[2])
    assert [omega[0].item() for omega in omegas(trainer).values()] == pytest.approx(expected, rel=1e-5)


WORKER = """
import sys, torch
from b2t_fairseq import cli
from fairseq.trainer import Trainer
step = Trainer.train_step

def train_step(self, samples, *args, **kwargs):
    if self.get_num_updates() == 0 and self.data_parallel_rank == 1:
        samples = [{}]  # what fairseq gives a worker that has run out of data
    result = step(self, samples, *args, **kwargs)
    omegas = {name: p.data for name, p in self.get_model().named_parameters() if ".omega." in name}
    torch.save(omegas, f"omegas-{self.data_parallel_rank}-{self.get_num_updates()}.pt")
    return result

Trainer.train_step = train_step
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_processes_have_the_same_values(folder):
    (folder / "worker.py").write_text(WORKER)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "worker.py")
    two = ("--distributed-world-size", "2", "--distributed-backend", "gloo")
    shell(*torchrun, "train", *TRAIN, *two, "--lr", "0.01", "--max-update", "3", "--no-save", cwd=folder)
    for update in (1, 2, 3):
        first, second = (torch.load(folder / f"omegas-{rank}-{update}.pt") for rank in (0, 1))
        assert len(first) == 12
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert (first["decoder.layers.connection.omega.5"] > 1.1).all()


def test_resume_in_the_middle_of_the_first_epoch(folder, monkeypatch, caplog):
    """A run that was interrupted ends like one that was not; only its first half profiles."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command line sets
    caplog.set_level("INFO")
    train = ("train", *TRAIN, "--lr", "0.01", "--save-interval-updates", "1", "--disable-validation")
    profiled = []
    for updates, run in ((3, "whole"), (1, "halves"), (3, "halves")):
        caplog.clear()
        assert cli.main([*train, "--max-update", str(updates), "--save-dir", run]) == 0
        profiled.append("admin: omega of the decoder from 1.0000 to" in caplog.text)
    assert profiled == [True, True, False]
    saved = [folder / run / "checkpoint_last.pt" for run in ("whole", "halves")]
    one, other = (torch.load(path, weights_only=False)["model"] for path in saved)
    assert all(torch.equal(one[name], other[name]) for name in one)
