"""Unified Normalization: 30 updates against a reference written step by step, and its state in every situation."""

import copy
import math

import pytest
import torch
from builders import assert_same_gradients, batch, build_connection, gradients, randomise
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema import EMA

from b2t_fairseq.norms import make_norm, unified
from b2t_fairseq.norms.unified import UnifiedNorm

WARM_UP, WITHOUT_RATIO = 8, 14


@pytest.fixture
def soon(monkeypatch):
    """The boundaries of a long training within a short one."""
    monkeypatch.setattr(unified, "WARM_UP", WARM_UP)
    monkeypatch.setattr(unified, "SHORTEST_WITHOUT_RATIO", WITHOUT_RATIO)


class Reference:
    """The method for one channel after the other, with plain numbers as its state."""

    def __init__(self, width, eps):
        self.eps = eps
        self.running, self.e = [1.0] * width, [0.0] * width
        self.m, self.gz = [[] for _ in range(width)], [[] for _ in range(width)]
        self.ratios = []

    def update(self, t, x, weight, bias, gradient):
        """Outputs and gradients of the t-th update; x, gradient (tokens, channels) in float64."""
        y, dx = torch.empty_like(x), torch.empty_like(x)
        dw, db = torch.empty_like(weight), torch.empty_like(bias)
        for c in range(x.size(1)):
            column, upper = x[:, c], gradient[:, c]
            m = float((column**2).sum()) / len(column)
            self.m[c].append(m)
            last = self.m[c][-4:]
            variance = m if t < WARM_UP or t <= 4 else math.prod(last) ** (1 / 4)
            ratio = math.sqrt((variance + self.eps) / (self.running[c] + self.eps))
            ratio = 1.0 if t <= max(WITHOUT_RATIO, WARM_UP) else min(max(ratio, 1 / 5), 5.0)
            self.ratios.append(ratio)
            self.running[c] = 0.9 * self.running[c] + 0.1 * variance
            z = column / math.sqrt(variance + self.eps)
            y[:, c] = weight[c] * z + bias[c]
            g = upper * weight[c] * ratio
            self.gz[c].append(float((g * z).sum()) / len(column))
            a = self.gz[c][-1] if t < WARM_UP or t <= 4 else sum(self.gz[c][-4:]) / 4
            self.e[c] = 0.9 * self.e[c] + 0.1 * a
            dx[:, c] = (g - self.e[c] * z) / math.sqrt(variance + self.eps)
            dw[c], db[c] = (upper * ratio * z).sum(), upper.sum()
        return y, dx, dw, db


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_a_reference_over_thirty_updates(soon, dtype):
    norm = randomise(make_norm("un", 5, eps=1e-3)).to(dtype).train()
    reference, generator = Reference(5, 1e-3), torch.Generator().manual_seed(0)
    for t in range(1, 31):
        scale = 20000.0 if t == 20 else 1 + t % 3  # beyond the clamp then, and below it when it has left the window
        x = (torch.randn(7, 3, 5, generator=generator) * scale).to(dtype).requires_grad_()
        upper = torch.randn(7, 3, 5, generator=generator).to(dtype)
        norm.zero_grad()
        norm.set_num_updates(t - 1)
        y = norm(x)
        y.backward(upper)
        flat = (tensor.detach().double().view(21, 5) for tensor in (x, upper))
        x64, upper64 = flat
        expected = reference.update(t, x64, norm.weight.detach().double(), norm.bias.detach().double(), upper64)
        for ours, theirs in zip((y, x.grad, norm.weight.grad, norm.bias.grad), expected, strict=True):
            assert torch.allclose(ours.double().view_as(theirs), theirs, atol=1e-5, rtol=1e-5), t
        assert norm.running.tolist() == pytest.approx(reference.running, rel=1e-5)
        assert norm.gradient_mean.tolist() == pytest.approx(reference.e, rel=1e-4, abs=1e-5)
    assert {1 / 5, 1.0, 5.0} < set(reference.ratios)  # all three were met, and others
    x = torch.randn(2, 5, generator=generator).to(dtype)
    plain = norm.weight * x / (norm.running + 1e-3).sqrt() + norm.bias
    assert torch.allclose(norm.eval()(x), plain, atol=1e-6)


def test_the_geometric_mean(monkeypatch):
    monkeypatch.setattr(unified, "WARM_UP", 0)
    norm = make_norm("un", 1).train()
    found = [norm.measure(torch.full((3, 1), m**0.5)).variance.item() for m in (100, 1, 2, 4, 8)]
    assert found == pytest.approx([100, 1, 2, 4, 2.8284], abs=5e-5)


def test_the_real_boundaries():
    """Update 4000 is the first with the geometric mean, 4001 the first with a ratio."""
    norm = make_norm("un", 1).train()
    for m in (100, 1, 2, 4):
        norm.measure(torch.full((3, 1), m**0.5))
    for updates, variance, has_ratio in ((3998, 8, False), (3999, 2.8284, False), (4000, 2.8284, True)):
        again = copy.deepcopy(norm)
        again.set_num_updates(updates)
        statistics = again.measure(torch.full((3, 1), 8**0.5))
        assert statistics.variance.item() == pytest.approx(variance, abs=5e-5)
        assert (statistics.ratio.item() != 1) == has_ratio


def test_fairseq_says_how_many_updates_there_were():
    model = build_connection("pre", norm="un")
    model.set_num_updates(77)
    assert {m.updates for m in model.modules() if isinstance(m, UnifiedNorm)} == {77}


def test_evaluation_changes_nothing_and_a_token_counts_alone():
    model = randomise(build_connection("pre", norm="un"))
    gradients(model.train(), *batch())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source, target = batch()
    model.eval()
    both = model(source, None, target)[0]
    alone = model(source[:1], None, target[:1])[0]
    assert torch.allclose(both[:1], alone, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_the_state_in_float32(dtype):
    norm = make_norm("un", 4).train()
    norm(torch.randn(6, 4) * 1000)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    norm.to(dtype)
    assert norm.weight.dtype == dtype
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())
    assert norm(torch.randn(6, 4).to(dtype)).dtype == dtype and norm.running.dtype == torch.float32
    x = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad.dtype == norm.weight.grad.dtype == dtype and norm.gradient_mean.dtype == torch.float32


@pytest.mark.parametrize("connection", ["pre", "b2t", "dlcl_pre", "hybrid"])
@pytest.mark.parametrize("losses", [1, 2])
def test_a_recomputed_layer_takes_its_batch_once(soon, connection, losses):
    """Also if several forward passes come before one backward pass."""
    plain = randomise(build_connection(connection, norm="un", dropout=0.1)).train()
    recomputing = copy.deepcopy(plain)
    for stack in (recomputing.encoder.layers, recomputing.decoder.layers):
        stack.checkpoint_activations = True
    models = (plain, recomputing)
    for update in range(WITHOUT_RATIO - 4, WITHOUT_RATIO + 4):
        found = []
        for model in models:
            torch.manual_seed(update)
            model.zero_grad()
            model.set_num_updates(update)
            inputs = [batch(10 * update + i) for i in range(losses)]
            sum(model(source, None, target)[0].tanh().square().sum() for source, target in inputs).backward()
            found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        assert_same_gradients(*found, tolerance=1e-5)
    states = [model.state_dict() for model in models]
    for name in states[0]:
        assert torch.allclose(states[0][name], states[1][name], atol=1e-5, rtol=1e-5), name
    seen = {name: value for name, value in states[0].items() if name.endswith("batches_seen")}
    assert set(map(int, seen.values())) == {5}


def test_recomputation_in_evaluation_takes_no_statistics():
    model = randomise(build_connection("pre", norm="un", checkpoint_activations=True)).eval()
    plain = copy.deepcopy(model)
    plain.encoder.layers.checkpoint_activations = plain.decoder.layers.checkpoint_activations = False
    assert_same_gradients(gradients(model, *batch()), gradients(plain, *batch()), tolerance=1e-6)


def test_a_state_without_its_windows_begins_them_anew(soon):
    norm = make_norm("un", 3).train()
    norm.set_num_updates(20)
    for _ in range(6):
        norm(torch.randn(4, 3)).sum().backward()
    state = {name: value for name, value in norm.state_dict().items() if name not in unified.OF_TRAINING}
    assert state.keys() == {"weight", "bias", "running"}
    other = make_norm("un", 3).train()
    other.load_state_dict(state)
    other.set_num_updates(20)
    x = torch.randn(4, 3)
    assert torch.equal(other.eval()(x), norm.eval()(x))
    moment = x.square().mean(0)
    assert torch.allclose(other.train().measure(x).variance, moment)  # the window is not full: no geometric mean


@pytest.mark.parametrize("is_fp32", [False, True])
def test_fairseqs_moving_average_of_a_model_takes_its_state(is_fp32):
    """`--store-ema` averages all of a state dict in place, which an integer does not take."""
    model = build_connection("pre", norm="un").train()
    average = EMA(model, EMAConfig(ema_decay=0.75, ema_fp32=is_fp32))
    gradients(model, *batch())
    average.step(model, updates=1)
    old, new = (next(norm for norm in m.modules() if isinstance(norm, UnifiedNorm)) for m in (average.model, model))
    assert torch.allclose(old.running, 0.75 + 0.25 * new.running) and not torch.equal(old.running, new.running)
