"""adam_fused: the updates and the states of fairseq's adam."""

import pytest
import torch
from fairseq import utils
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

from b2t_fairseq import UserError
from b2t_fairseq.optim import adam_fused
from b2t_fairseq.optim.adam_fused import FairseqFusedAdam, FusedAdamConfig

OPTIONS = {"lr": [1e-2], "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-3, "weight_decay": 0.1}
KINDS = {FairseqAdam: FairseqAdamConfig, FairseqFusedAdam: FusedAdamConfig}


def start(kind, seed: int = 0, **options):
    random = torch.Generator().manual_seed(seed)
    parameters = [torch.randn(shape, generator=random).requires_grad_() for shape in ((5, 7), (3,), (2, 2))]
    return kind(KINDS[kind](**{**OPTIONS, **options}), parameters), parameters


def update(optimizer, parameters, step: int, clip: float = 1.0, frozen: int | None = None):
    """One update as fairseq's trainer makes it; returns the gradients' norm."""
    random = torch.Generator().manual_seed(100 + step)
    for i, p in enumerate(parameters):
        gradient = torch.randn(p.shape, generator=random)
        p.grad = None if i == frozen else gradient
    optimizer.multiply_grads(torch.tensor(0.37))
    optimizer.multiply_grads(2.0)
    norm = optimizer.clip_grad_norm(clip)
    optimizer.set_lr(1e-2 / (step + 1))
    optimizer.step()
    optimizer.zero_grad()
    assert all(p.grad is None for p in parameters)
    return norm


def assert_close(first, second):
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=0)


@pytest.fixture(params=[True, False], ids=["fused", "torch < 2.4"])
def fuses(request, monkeypatch):
    monkeypatch.setattr(adam_fused, "FUSES_ON_CPU", request.param and adam_fused.FUSES_ON_CPU)


@pytest.mark.parametrize("clip", [0.0, 1.0, 1000.0])
def test_updates_are_those_of_adam(fuses, clip):
    (stock, theirs), (ours, mine) = start(FairseqAdam), start(FairseqFusedAdam)
    for step in range(12):
        # the last parameter is frozen for a while: its own count of steps falls behind
        frozen = 2 if 3 <= step < 6 else None
        expected = update(stock, theirs, step, clip, frozen)
        assert torch.allclose(update(ours, mine, step, clip, frozen), expected, rtol=1e-5)
        assert_close(mine, theirs)
    assert ours.get_lr() == stock.get_lr()


@pytest.mark.parametrize("first, second", [(FairseqAdam, FairseqFusedAdam), (FairseqFusedAdam, FairseqAdam)])
def test_either_goes_on_with_the_others_state(first, second, tmp_path):
    whole, expected = start(FairseqAdam)
    before, parameters = start(first)
    for step in range(4):
        update(whole, expected, step)
        update(before, parameters, step)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt")
    assert {type(s["step"]) for s in state["state"].values()} == {int}
    after, others = start(second)
    with torch.no_grad():
        for p, q in zip(others, parameters, strict=True):
            p.copy_(q)
    after.load_state_dict(state)
    for step in range(4, 8):
        update(whole, expected, step)
        update(after, others, step)
    assert_close(others, expected)


def test_fp16s_loss_scale_is_taken_out(fuses):
    (plain, expected), (scaled, parameters) = start(FairseqFusedAdam), start(FairseqFusedAdam)
    for p, q in zip(expected, parameters, strict=True):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q) * 8
    plain.step()
    scaled.step(scale=8.0)
    assert_close(parameters, expected)


def test_what_needs_apex_is_refused():
    with pytest.raises(UserError, match="--fp16-adam-stats"):
        start(FairseqFusedAdam, fp16_adam_stats=True)


@pytest.mark.parametrize("case", ["plain", "half precision", "an expert's gradient does not count", "no gradients"])
def test_the_norm_is_fairseqs(case):
    optimizer, parameters = start(FairseqFusedAdam)
    if case == "half precision":
        parameters[0].data = parameters[0].data.half()
    if case.startswith("an expert"):
        parameters[1].expert = True
    for p in parameters:
        p.grad = None if case == "no gradients" else torch.ones_like(p) * 2
    expected = utils.clip_grad_norm_(parameters, 0, torch.sqrt)  # data parallelism aggregates the ranks' norms
    assert optimizer.clip_grad_norm(0, torch.sqrt) == pytest.approx(expected.item())
    assert (expected > 0) == (case != "no gradients")
