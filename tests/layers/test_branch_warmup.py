"""Branch warm-up: its schedule, its ends, and what saving, resuming, validating and averaging make of it."""

import logging
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from builders import ALL_CONNECTIONS, batch, build, build_connection, build_language_model, randomise

from b2t_fairseq import UserError
from b2t_fairseq.connections import get_connection
from b2t_fairseq.init.admin import profiling
from b2t_fairseq.layers import BranchWarmup
from b2t_fairseq.layers.branch_warmup import ends_at
from b2t_fairseq.patches.additions.update_number import warn_of_end

NORMS_ON_BRANCHES = {"peri": "_out_layer_norm", "res_post": "_layer_norm"}  # elsewhere a branch ends with a projection
WARM = [name for name in ALL_CONNECTIONS if get_connection(name).branch_can_warm_up]


@pytest.mark.parametrize(
    "t, schedule, factors",
    [
        (499, "progressive", {1: 0.5, 6: 0.0833, 9: 0.0556, 18: 0.0278}),
        (999, "progressive", {1: 1, 6: 0.1667, 9: 0.1111, 18: 0.0556}),
        (17_998, "progressive", {1: 1, 17: 1, 18: 17_999 / 18_000}),
        (17_999, "progressive", {18: 1}),
        (0, "progressive", {1: 0.001}),
        (499, "equal", {1: 0.5, 18: 0.5}),
        (999, "equal", {1: 1, 18: 1}),
    ],
)
def test_the_schedule(t, schedule, factors):
    warmup = BranchWarmup(1000, schedule)
    warmup.set_num_updates(t)
    for number, factor in factors.items():
        assert warmup.factor(number) == pytest.approx(factor, abs=5e-5)
        scale = warmup.scale(number, torch.zeros(1, dtype=torch.bfloat16))
        assert scale is None if factor == 1 else scale.item() == pytest.approx(warmup.factor(number))


def test_without_history_it_is_over():
    assert BranchWarmup(1000, "progressive").factor(18) == 1


@pytest.mark.parametrize("schedule, end", [("progressive", 17_999), ("equal", 999)])
def test_the_end_of_a_stack(schedule, end):
    warmup = BranchWarmup(1000, schedule)
    assert ends_at({"branch_warmup": 1000, "branch_warmup_schedule": schedule}, 18) == end and ends_at({}, 18) == 0
    for t, over in ((end - 1, False), (end, True)):
        warmup.set_num_updates(t)
        assert (warmup.factor(18) == 1) == over


@pytest.mark.parametrize(
    ("last", "schedule", "says"),
    [
        (25, "progressive", True),
        (26, "progressive", False),
        (8, "equal", True),
        (9, "equal", False),
        (0, "equal", False),
    ],
)
def test_a_training_that_is_shorter_says_so(last, schedule, says, caplog):
    """Of 3 encoder and 2 decoder layers, the third has its full size after 3 N - 1 updates."""
    updates = 9 if schedule == "progressive" else 10
    model = build_connection("pre", branch_warmup=updates, branch_warmup_schedule=schedule)
    with caplog.at_level(logging.WARNING):
        warn_of_end(SimpleNamespace(optimization=Namespace(max_update=last)), model)
    assert ("ends before the branch warm-up" in caplog.text) == says


@pytest.mark.parametrize("connection", WARM)
@pytest.mark.parametrize("schedule", ["progressive", "equal"])
def test_every_branch_is_scaled_and_at_the_end_nothing_is(connection, schedule):
    """Against the same model whose last projections, or norms on the branch, are scaled by hand."""
    options = {"branch_warmup": 8, "branch_warmup_schedule": schedule, "connection_init": "default"}
    warm = randomise(build_connection(connection, **options)).eval()
    plain = build_connection(connection, connection_init="default").eval()
    plain.load_state_dict(warm.state_dict())
    source, target = batch()
    warm.set_num_updates(23)  # the end of the deepest stack, 3 layers, in the progressive schedule
    assert torch.equal(warm(source, None, target)[0], plain(source, None, target)[0])
    warm.set_num_updates(1)
    half_warm = warm(source, None, target)[0]
    for stack in (plain.encoder.layers, plain.decoder.layers):
        for layer in stack:
            factor = 2 / 8 / (layer.number if schedule == "progressive" else 1)
            end = NORMS_ON_BRANCHES.get(connection, ("out_proj", "fc2"))
            with torch.no_grad():
                for module in (module for name, module in layer.named_modules() if name.endswith(end)):
                    module.weight.mul_(factor)
                    module.bias.mul_(factor)
    assert torch.allclose(half_warm, plain(source, None, target)[0], atol=2e-5)


def test_the_first_update_reaches_every_layer():
    model = build_connection("pre", branch_warmup=1000)
    model.set_num_updates(0)
    source, target = batch()
    model(source, None, target)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "fc2.weight" in n)


def test_recomputed_layers_know_the_scale():
    source, target = batch()
    kinds = ({}, {"checkpoint_activations": True})
    results = []
    for kind in kinds:
        model = build_connection("b2t", branch_warmup=10, **kind).train()
        model.set_num_updates(3)
        output = model(source, None, target)[0]
        output.sum().backward()
        results.append((output, model.encoder.layers[0].fc1.weight.grad))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_admin_profiles_full_branches():
    source, target = batch()
    omegas = []
    for options in ({}, {"branch_warmup": 1000}):
        model = build_connection("admin", **options)
        model.set_num_updates(0)
        stacks = [model.encoder.layers, model.decoder.layers]
        with torch.no_grad(), profiling(stacks):
            model.train()(source, None, target)
        omegas.append(torch.cat([omega for stack in stacks for omega in stack.connection.omega]))
        assert [stack.branch_warmup is None for stack in stacks] == [not options] * 2
    assert torch.equal(*omegas) and not torch.equal(omegas[0], torch.ones_like(omegas[0]))


def test_going_back_is_said(caplog):
    warmup = BranchWarmup(1000, "equal")
    warmup.set_num_updates(500)
    with caplog.at_level(logging.WARNING):
        warmup.set_num_updates(0)
    assert "begins again at update 0" in caplog.text


def test_the_language_model_has_it():
    model = build_language_model(branch_warmup=10, branch_warmup_schedule="equal")
    assert "(branch_warmup=10,branch_warmup_schedule=equal)" in model.signature
    model.set_num_updates(4)
    assert model.decoder.layers.branch_warmup.factor(3) == 0.5


@pytest.mark.parametrize(
    "options, message",
    [
        ({"branch_warmup_schedule": "equal"}, "needs --branch-warmup"),
        ({"branch_warmup": -1}, "--branch-warmup -1"),
        ({"branch_warmup": 5, "branch_warmup_schedule": "cosine"}, "cosine is unknown: choose one of progressive"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


def test_a_connection_may_say_no(monkeypatch):
    monkeypatch.setattr(get_connection("pre"), "branch_can_warm_up", False)
    with pytest.raises(UserError, match="--branch-warmup does not go with connection 'pre'"):
        build_connection("pre", branch_warmup=5)
