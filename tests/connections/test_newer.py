"""keel, span, siamese, res_post, complete_p: the numbers of their equations, and what each becomes at its limits."""

import logging
import math

import pytest
import torch
from builders import batch, build, build_connection, randomise
from torch.nn import functional

from b2t_fairseq import UserError
from b2t_fairseq.connections import get_connection, parse_options
from b2t_fairseq.layers import Context, Stack, StackConfig
from b2t_fairseq.layers.layer import Branch


def connection(name: str, side: str = "encoder", depth: int = 6, options: str = "", width: int = 16):
    kinds = ("SA", "CA", "FF") if side == "decoder" else ("SA", "FF")
    cls = get_connection(name)
    return cls(StackConfig(side, depth, width, 24, 4, kinds, other_depth=6), **parse_options(cls, options))


def branch(f) -> Branch:
    """A sub-layer that adds the tensor f, whatever it reads."""
    return Branch(raw=lambda _: f, dropout=torch.nn.Identity())


def stack_of(name: str, depth: int = 4, options: str = "") -> Stack:
    """An encoder's stack with norms and biases away from 1 and 0."""
    torch.manual_seed(0)
    own = connection(name, depth=depth, options=options)
    return randomise(Stack(own.config, own)).eval()


def silence(*modules) -> None:
    """Set weights and biases to 0."""
    with torch.no_grad():
        for module in modules:
            module.weight.zero_()
            module.bias.zero_()


def silence_branches(stack: Stack) -> None:
    for layer in stack:
        silence(layer.self_attn.out_proj, layer.fc2)


def logits(model):
    source, target = batch()
    return model.eval()(source, None, target)[0]


# --- keel ---


@pytest.mark.parametrize(
    ("depths", "encoder", "decoder"),
    [((6, 6), 12, 18), ((18, 18), 36, 54), ((60, 12), 120, 36), ((100, 100), 200, 300)],
)
def test_keels_alpha_is_the_number_of_sublayers(depths, encoder, decoder):
    assert connection("keel", "encoder", depths[0]).alpha == encoder
    assert connection("keel", "decoder", depths[1]).alpha == decoder
    assert connection("keel", "encoder", depths[0], "alpha=2.5").alpha == 2.5


def test_keels_alpha_in_a_language_model():
    cls = get_connection("keel")
    config = StackConfig("decoder", 18, 16, 24, 4)
    assert cls(config, **parse_options(cls, None)).alpha == 36


@pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf])
def test_keel_refuses_what_is_not_a_weight(alpha):
    with pytest.raises(UserError, match=f"alpha={alpha} must be a number from 0 on"):
        connection("keel", options=f"alpha={alpha}")


def skip_path_factor(name: str, sublayers: int, options: str = "") -> float:
    """Measure how much of a gradient comes back through the residuals, if every branch adds noise of variance 1."""
    torch.manual_seed(0)
    own, width = connection(name, options=options), 4096

    def normed(x):
        return functional.layer_norm(x, (width,))

    def noise(x):  # uncorrelated with x, which is normed
        f = normed(torch.randn(width, dtype=torch.float64))
        return normed(f - (f * x).mean() * x).detach()

    start, upstream = torch.randn(2, width, dtype=torch.float64)
    start = normed(start).requires_grad_()
    x = start
    for _ in range(sublayers):
        x = own.sublayer(x, 2, 0, noise, (torch.nn.Identity(), normed) if name == "keel" else (normed,))
    (gradient,) = torch.autograd.grad(x, start, upstream)
    return (gradient.norm() / upstream.norm()).item()


@pytest.mark.parametrize(
    ("sublayers", "keel", "post"),
    [(12, 0.9593, 1.6e-2), (36, 0.9862, 3.8e-6), (120, 0.9958, 8.7e-19), (300, 0.9983, 7e-46)],
)
def test_keel_keeps_the_gradient_that_post_loses(sublayers, keel, post):
    assert (1 + sublayers**-2) ** (-sublayers / 2) == pytest.approx(keel, abs=5e-5)
    assert 2 ** (-sublayers / 2) == pytest.approx(post, rel=0.03)
    assert skip_path_factor("keel", sublayers, f"alpha={sublayers}") == pytest.approx(keel, abs=5e-4)
    assert math.log2(skip_path_factor("post", sublayers)) == pytest.approx(-sublayers / 2, rel=0.02)


@pytest.mark.parametrize("alpha", [0, 1, 40, 300])
def test_keel_without_branches_is_its_norms(alpha):
    stack = stack_of("keel", options=f"alpha={alpha}")
    silence_branches(stack)
    x = torch.randn(5, 2, 16)
    expected = x  # layer 1 adds nothing
    for layer in list(stack)[1:]:
        for norm in (layer.self_attn_out_layer_norm, layer.final_out_layer_norm):
            expected = functional.layer_norm(expected, (16,), norm.weight, norm.bias)
    assert (stack(x, Context()) - expected).abs().max() <= 5e-6 * 6  # six norms


def test_one_layer_of_keel_is_pre():
    sizes = {"encoder_layers": 1, "decoder_layers": 1}
    keel, pre = (randomise(build_connection(name, **sizes)) for name in ("keel", "pre"))
    pre.load_state_dict(keel.state_dict(), strict=True)
    assert torch.equal(logits(keel), logits(pre))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_keel_sums_in_float32(dtype):
    """At alpha = 300 the sum lies between 256 and 512 where x is 1: bfloat16 would round a branch of 0.9 away."""
    own = connection("keel", "decoder", 100)
    norm = randomise(torch.nn.LayerNorm(16)).to(dtype)
    x, f = torch.randn(5, 2, 16).to(dtype), 0.9 * torch.randn(5, 2, 16).to(dtype)
    with_norms = torch.nn.Identity(), norm
    exact = functional.layer_norm(300 * x.double() + f.double(), (16,), norm.weight.double(), norm.bias.double())
    actual = own.sublayer(x, 2, 0, branch(f), with_norms)
    assert actual.dtype == dtype
    rounded_once = exact.to(dtype)
    assert (actual == rounded_once).float().mean() > 0.98  # float32's own error may turn a tie
    naive = norm(300 * x + f)
    assert (naive.double() - exact).square().mean() > 1.2 * (actual.double() - exact).square().mean()


def test_keel_learns_in_bfloat16():
    model = build_connection("keel").bfloat16()
    source, target = batch()
    model(source, None, target)[0].float().square().mean().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert dead == []
    assert model.encoder.layers[1].final_out_layer_norm.weight.grad.abs().sum() > 0


def test_keels_final_norm_shows_in_the_signature():
    model = build_connection("keel", connection_options="final_norm=false")
    assert model.encoder.layer_norm is model.decoder.layer_norm is None
    assert model.signature.startswith("connection:keel(final_norm=false)|")


# --- span ---


@pytest.mark.parametrize(("name", "reads_x"), [("span", False), ("post", True), ("b2t", True)])
def test_the_end_of_a_span_forgets_what_was_inside(name, reads_x):
    """With fc2 = 0, a layer is LN(b), whatever its self-attention does."""
    stack = stack_of(name, depth=1)
    silence(stack[0].fc2)
    b = torch.randn(5, 2, 16)
    before = stack(b, Context())
    with torch.no_grad():
        stack[0].self_attn.out_proj.weight.mul_(-3)
    assert torch.equal(stack(b, Context()), before) != reads_x
    norm = stack[0].final_layer_norm
    assert torch.allclose(before, functional.layer_norm(b, (16,), norm.weight, norm.bias), atol=1e-6) != reads_x


def test_span_in_a_decoder():
    """Between the ends of the span, cross-attention is LN(x + F(x)): our decision."""
    own = connection("span", "decoder", 2)
    b, fs = torch.randn(3, 1, 16), torch.randn(3, 3, 1, 16)
    stream = own.enter_layer(b, 2)
    for j, f in enumerate(fs):
        stream = own.sublayer(stream, 2, j, branch(f), (lambda x: x.sin(),))
    y = ((b + fs[0]).sin() + fs[1]).sin()
    assert not torch.equal(y, b)
    assert torch.equal(own.leave_layer(stream, 2), (b + fs[2]).sin())


def test_only_self_attention_of_layer_1_has_a_norm_before_it():
    own = connection("span", "decoder", 2)
    torch.nn.init.constant_(own.first_norm.bias, 100)
    read = []

    def listening(x):
        read.append(x.mean().item())
        return torch.zeros_like(x)

    for l in (1, 2):
        stream = own.enter_layer(torch.zeros(3, 1, 16), l)
        for j in range(3):
            stream = own.sublayer(stream, l, j, listening, (torch.nn.Identity(),))
        assert not own.leave_layer(stream, l).any()  # the residual is b itself
    assert read == [100, 0, 0, 0, 0, 0]


# --- siamese ---


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize(("l", "factor"), [(1, 0.7071), (6, 0.2887), (12, 0.2041), (18, 0.1667), (50, 0.1)])
def test_siamese_scales_by_the_layers_number(l, factor, side):
    own = connection("siamese", side, 50)
    identity, f = torch.nn.Identity(), torch.ones(2, 1, 16)
    start = own.open(torch.zeros(2, 1, 16))
    stream = own.sublayer(start, l, 0, branch(f), (identity, identity, identity))
    assert torch.allclose(stream.x, torch.tensor(factor), atol=5e-5)
    assert torch.equal(stream.y, f)


def test_siamese_without_branches_keeps_the_embedding():
    stack = stack_of("siamese")
    silence_branches(stack)
    x = torch.randn(5, 2, 16)
    own, seen = stack.connection, []
    own.norm_b.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    stack(x, Context(), torch.nn.Identity())
    assert torch.equal(seen[0], x)


def test_the_second_stream_of_siamese_is_pre():
    """Where every LN_post and LN_a give 0, what is left is normed twice, by LN_pre and LN_in."""
    siamese, pre = build_connection("siamese"), randomise(build_connection("pre"))
    siamese.load_state_dict(pre.state_dict(), strict=False)
    for side in (siamese.encoder, siamese.decoder):
        silence(*(module for name, module in side.layers.named_modules() if name.endswith("post_layer_norm")))
        silence(side.layers.connection.norm_a)
    expected = logits(pre)
    assert (logits(siamese) - expected).abs().max() <= 2e-5 * expected.abs().max()


# --- res_post ---


def test_res_post_drops_what_the_norm_returns():
    own, norm = connection("res_post"), randomise(torch.nn.LayerNorm(16))
    x, f = torch.randn(2, 1, 3, 1, 16)
    half_lost = Branch(raw=lambda _: f, dropout=lambda y: y * torch.tensor([0.0, 2.0]).repeat(8))
    y = own.sublayer(x, 1, 0, half_lost, (norm,))
    assert torch.equal(y[..., ::2], x[..., ::2])
    assert torch.equal(y[..., 1::2], (x + 2 * norm(f))[..., 1::2])


# --- complete_p ---


@pytest.mark.parametrize(
    ("depth", "whole", "half"),
    [(6, 1, 1), (12, 0.5, 0.7071), (18, 0.3333, 0.5774), (60, 0.1, 0.3162), (100, 0.06, 0.2449)],
)
def test_complete_ps_factor(depth, whole, half):
    own = connection("complete_p", depth=depth)
    assert own.factor == pytest.approx(whole, abs=5e-5)
    assert connection("complete_p", depth=depth, options="alpha=0.5").factor == pytest.approx(half, abs=5e-5)
    assert connection("complete_p", depth=depth, options=f"base_layers={depth}").factor == 1
    assert f"factor={own.factor:.4f} (of --adam-eps, too)" in repr(own)


@pytest.mark.parametrize(
    ("options", "mistake"),
    [("alpha=-1", "alpha=-1.0 must be a number from 0 on"), ("base_layers=0", "base_layers=0 must be at least 1")],
)
def test_complete_p_refuses_what_makes_no_sense(options, mistake):
    with pytest.raises(UserError, match=mistake):
        connection("complete_p", options=options)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_complete_p_at_its_base_is_pre(alpha):
    depth = {"encoder_layers": 2, "decoder_layers": 2, "dropout": 0.3}
    options = f"base_layers=2,alpha={alpha}"
    complete, pre = (
        build_connection("complete_p", connection_options=options, **depth),
        build_connection("pre", **depth),
    )
    pre.load_state_dict(randomise(complete).state_dict(), strict=True)
    source, target = batch()
    gradients = []
    for model in (complete, pre):
        torch.manual_seed(4)
        model.train()(source, None, target)[0].square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert torch.equal(logits(complete), logits(pre))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True))


def test_complete_p_folds_into_a_stock_pre_model():
    model = randomise(build_connection("complete_p", connection_options="base_layers=1"))
    expected = logits(model)
    with torch.no_grad():
        for stack, m in ((model.encoder.layers, 3), (model.decoder.layers, 2)):
            for name, module in stack.named_modules():
                if name.endswith(("out_proj", "fc2")):
                    module.weight.div_(m)
                    module.bias.div_(m)
    pre = {f"{side}_normalize_before": True for side in ("encoder", "decoder")}
    stock = build("transformer", **pre)
    stock.load_state_dict(model.state_dict(), strict=True)
    assert type(stock.encoder.layers) is torch.nn.ModuleList
    assert (logits(stock) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_narrow_b2t_no_ln_says_that_it_grows(caplog):
    """alpha + beta: 18^-0.15 + 32^-0.2 = 1.148; with the beta of width 512, 0.935."""
    with caplog.at_level(logging.WARNING):
        build_connection("b2t_no_ln", encoder_layers=18, decoder_layers=1)
    assert "alpha + beta = 1.15 > 1 in the encoder of 18 layers, width 32" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        model = build_connection("b2t_no_ln", encoder_layers=18, connection_options="beta_width=512")
    own = model.encoder.layers.connection
    assert "alpha + beta" not in caplog.text and own.alpha + own.beta == pytest.approx(0.9353, abs=1e-4)
    with pytest.raises(UserError, match="beta_width=-1"):
        build_connection("b2t_no_ln", connection_options="beta_width=-1")
