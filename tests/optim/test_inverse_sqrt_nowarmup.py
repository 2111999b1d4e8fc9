"""The schedule without warm-up: its curve, and that fairseq's own is another."""

from types import SimpleNamespace

import pytest
from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY, FairseqLRScheduler
from fairseq.optim.lr_scheduler.inverse_square_root_schedule import (
    InverseSquareRootLRScheduleConfig,
    InverseSquareRootSchedule,
)

from b2t_fairseq import UserError
from b2t_fairseq.optim.inverse_sqrt_nowarmup import InverseSqrtNoWarmup, InverseSqrtNoWarmupConfig


class Optimizer:
    """What a schedule sees of fairseq's optimizer."""

    lr = None

    def set_lr(self, lr):
        self.lr = lr

    def get_lr(self):
        return self.lr


@pytest.fixture(autouse=True)
def any_optimizer(monkeypatch):
    """fairseq's base class accepts only its own optimizers."""

    def accept(self, cfg, optimizer):
        self.cfg, self.optimizer, self.best = cfg, optimizer, None

    monkeypatch.setattr(FairseqLRScheduler, "__init__", accept)


def schedule(**options):
    return InverseSqrtNoWarmup(SimpleNamespace(**{"lr": [5e-4], "decay_period": 4000, **options}), Optimizer())


def test_it_is_registered_with_the_methods_period():
    assert LR_SCHEDULER_REGISTRY["inverse_sqrt_nowarmup"] is InverseSqrtNoWarmup
    assert InverseSqrtNoWarmupConfig().decay_period == 4000


@pytest.mark.parametrize(
    ("updates", "share"), [(0, 1), (1, (4000 / 4001) ** 0.5), (4000, 0.5**0.5), (12000, 0.5), (396000, 0.1)]
)
def test_the_curve(updates, share):
    ours = schedule()
    assert ours.step_update(updates) == pytest.approx(5e-4 * share)
    assert ours.optimizer.lr == pytest.approx(5e-4 * share)
    ours.step(epoch=3)
    assert ours.optimizer.lr == pytest.approx(5e-4 * share)


def test_it_starts_at_the_full_rate_before_any_update():
    assert schedule().optimizer.lr == 5e-4


def test_the_period():
    assert schedule(decay_period=100).step_update(300) == pytest.approx(5e-4 / 2)


def test_fairseqs_own_has_another_curve():
    with pytest.raises(ZeroDivisionError):
        InverseSquareRootSchedule(InverseSquareRootLRScheduleConfig(warmup_updates=0, lr=[5e-4]), Optimizer())
    for warmup in (1, 100, 4000):
        config = InverseSquareRootLRScheduleConfig(warmup_updates=warmup, lr=[5e-4])
        theirs, ours = InverseSquareRootSchedule(config, Optimizer()), schedule(decay_period=warmup)
        assert theirs.step_update(50) != pytest.approx(ours.step_update(50), rel=0.003)


@pytest.mark.parametrize(
    ("options", "message"), [({"lr": [1e-3, 1e-4]}, "takes one --lr, not 2"), ({"decay_period": 0}, "must be positive")]
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        schedule(**options)
