"""Each kind of norm against its formula in plain torch, in models of every connection, and what is refused."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from builders import (
    ALL_CONNECTIONS,
    PAD,
    assert_same_gradients,
    batch,
    build_connection,
    build_language_model,
    build_speech,
    gradients,
    randomise,
    speech,
)
from torch import nn

from b2t_fairseq import UserError
from b2t_fairseq.analysis import fresh
from b2t_fairseq.checkpoints.signature import check_same_function
from b2t_fairseq.connections import get_connection
from b2t_fairseq.norms import NORMS, make_norm
from b2t_fairseq.patches.additions.moving_statistics import check_loss_scale

NEW = tuple(kind for kind in NORMS if kind != "layer")
WITHOUT_NORMS = {"tfixup", "b2t_no_ln"}
PAIRS = [
    (connection, kind)
    for connection in ALL_CONNECTIONS
    for kind in NEW
    if connection not in WITHOUT_NORMS and kind in get_connection(connection).norm_kinds
]


def rms(x, p, eps):
    return p["weight"] * x / ((x * x).sum(-1, keepdim=True) / x.size(-1) + eps).sqrt()


def dyt(x, p, eps):
    e = torch.exp(2 * p["alpha"] * x)
    return p["weight"] * (e - 1) / (e + 1) + p["bias"]


def derf(x, p, eps):
    return p["weight"] * torch.special.erf(p["alpha"] * x + p["shift"]) + p["bias"]


@pytest.mark.parametrize("reference", [rms, dyt, derf])
def test_values_and_gradients(reference):
    norm = randomise(make_norm(reference.__name__, 6, eps=1e-3))
    own = {name: p.detach().clone().requires_grad_() for name, p in norm.named_parameters()}
    found, expected = [], []
    for results, parameters, run in (
        (found, dict(norm.named_parameters()), norm),
        (expected, own, lambda x: reference(x, own, 1e-3)),
    ):
        x = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
        y = run(x)
        (y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum().backward()
        results += [y, x.grad, *(parameters[name].grad for name in sorted(parameters))]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "value"), [("dyt", 0.462117), ("derf", 0.520500)])
def test_at_first(kind, value):
    """tanh(0.5) and erf(0.5)."""
    assert make_norm(kind, 3)(torch.ones(2, 3)).flatten().tolist() == pytest.approx([value] * 6, abs=1e-6)


def test_rms_at_first():
    y = make_norm("rms", 4)(torch.tensor([3.0, -4.0, 0.0, 0.0]))  # mean of squares 6.25, without a mean taken away
    assert y.tolist() == pytest.approx([1.2, -1.6, 0, 0], abs=1e-5)


@pytest.mark.parametrize("kind", NORMS)
def test_types(kind):
    x = torch.randn(5, 2, 8) * 300  # squares are beyond float16
    wide = make_norm(kind, 8)(x)
    for dtype in (torch.bfloat16, torch.float16):
        narrow = make_norm(kind, 8).to(dtype)(x.to(dtype))
        assert narrow.dtype == dtype and torch.allclose(narrow.float(), wide, atol=0.02, rtol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        assert make_norm(kind, 8)(x.bfloat16()).dtype == torch.float32 or kind == "layer"


def test_layer_changes_nothing():
    plain, named = build_connection("pre"), build_connection("pre", norm="layer")
    assert plain.signature == named.signature and "norm" not in plain.signature
    assert {type(m) for m in plain.modules() if "norm" in type(m).__name__.lower()} == {nn.LayerNorm}
    one, other = plain.state_dict(), named.state_dict()
    assert list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(plain(batch()[0], None, batch()[1])[0], named(batch()[0], None, batch()[1])[0])


@pytest.mark.parametrize(("connection", "kind"), PAIRS)
def test_in_every_connection(connection, kind):
    """No LayerNorm is left; every parameter learns; pads do not count; a step at a time is the same as all at once."""
    options = "embedding_norm=true" if connection == "peri" else ""
    model = randomise(build_connection(connection, norm=kind, connection_options=options))
    assert not [name for name, m in model.named_modules() if isinstance(m, nn.LayerNorm)]
    shown = ",".join(filter(None, [options, f"norm={kind}"]))
    assert model.signature.startswith(f"connection:{connection}({shown})|")
    source, target = batch()
    found = gradients(model.train(), source, target)
    assert [n for n, p in model.named_parameters() if n not in found or not found[n].abs().sum() > 0] == []

    model.eval()
    encoded, state = model.encoder(source), {}
    full, _ = model.decoder(target, encoder_out=encoded)
    steps = [
        model.decoder(target[:, : i + 1], encoder_out=encoded, incremental_state=state)[0]
        for i in range(target.size(1))
    ]
    real, scale = target.ne(PAD), full.abs().max().clamp(min=1)
    assert (torch.cat(steps, 1) - full)[real].abs().max() <= 1e-5 * scale
    wider = torch.cat([torch.full((len(source), 3), PAD), source], 1)
    assert (model(wider, None, target)[0] - full)[real].abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("kind", NEW)
def test_the_final_norm_has_the_connections_epsilon(kind):
    model = build_connection("pre", norm=kind)
    norms = model.encoder.layer_norm, model.decoder.layer_norm
    assert {type(norm) for norm in norms} == {NORMS[kind]}
    assert kind in ("dyt", "derf") or {norm.eps for norm in norms} == {1e-5}


def test_the_epsilon_of_resi_dual():
    model = build_connection("resi_dual", norm="rms")
    assert (model.encoder.layer_norm.eps, model.decoder.layers[0].final_layer_norm.eps) == (1e-7, 1e-5)


@pytest.mark.parametrize("kind", NEW)
def test_language_model_and_speech(kind):
    model = build_language_model("transformer_lm_pre", norm=kind)
    assert f"(norm={kind})" in model.signature and isinstance(model.decoder.layer_norm, NORMS[kind])
    assert model(batch()[1])[0].isfinite().all()
    recogniser = build_speech("s2t_transformer_pre_6_6", norm=kind)
    for norm in (recogniser.encoder.layer_norm, recogniser.decoder.layer_norm):
        assert isinstance(norm, NORMS[kind])
    assert recogniser(*speech(), batch()[1])[0].isfinite().all()


def test_the_final_norm_that_a_language_model_leaves_out():
    model = build_language_model("transformer_lm_pre", norm="rms", no_decoder_final_norm=True)
    assert model.decoder.layer_norm is None and "(norm=rms,final_norm=false)" in model.signature


@pytest.mark.parametrize("kind", ["rms", "dyt", "derf"])
def test_recomputed(kind):
    found = []
    for recomputes in (False, True):
        model = randomise(build_connection("pre", norm=kind, checkpoint_activations=recomputes)).train()
        found.append(gradients(model, *batch()))
    assert_same_gradients(*found, tolerance=1e-6)


@pytest.mark.parametrize(
    ("connection", "options", "line"),
    [
        ("resi_dual", {"norm": "dyt"}, "--norm dyt does not go with --connection resi_dual: r, .*; use layer, rms$"),
        ("resi_dual", {"norm": "un"}, "--norm un does not go with --connection resi_dual"),
        ("admin", {"norm": "un"}, "--norm un does not go with --connection admin: the pass that sets omega"),
        ("tfixup", {"norm": "rms"}, "--norm rms does not go with --connection tfixup: it has no norms; leave it out$"),
        ("b2t_no_ln", {"norm": "un"}, "connection b2t_no_ln: it has no norms"),
        ("keel", {"norm": "derf"}, "--norm derf does not go with --connection keel: alpha x, .*; use layer, rms, un$"),
        (
            "pre",
            {"norm": "un", "share_layers": "cycle", "unique_layers": 1},
            "--share-layers does not go with --norm un",
        ),
        ("pre", {"norm": "batch"}, "--norm 'batch' is unknown: choose one of layer, rms, un, dyt, derf$"),
        ("pre", {"norm": "un", "compile_layers": True}, "--compile-layers does not go with --norm un"),
    ],
)
def test_refused(connection, options, line):
    with pytest.raises(UserError, match=line) as error:
        build_connection(connection, **options)
    assert "\n" not in str(error.value)


def test_a_final_norm_is_a_norm():
    model = build_connection("b2t_no_ln", norm="rms", connection_options="final_norm=true")
    assert "b2t_no_ln(final_norm=true,norm=rms)" in model.signature


@pytest.mark.parametrize("option", ["fp16", "amp"])
def test_a_loss_scale_is_refused(option):
    cfg = SimpleNamespace(common=Namespace(**{"fp16": False, "amp": False, option: True}))
    check_loss_scale(cfg, build_connection("pre", norm="rms"))
    with pytest.raises(UserError, match=f"--{option} does not go with --norm un"):
        check_loss_scale(cfg, build_connection("pre", norm="un"))


def test_another_kind_is_another_model():
    stored, expected = (build_connection("pre", norm=kind).signature for kind in ("rms", "layer"))
    with pytest.raises(UserError, match=r"old\.pt holds another model.*norm=rms.*--norm") as error:
        check_same_function(stored, expected, "old.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", NEW)
def test_a_fresh_model_is_probed_as_its_first_update_finds_it(kind):
    """With `un` the moments of the batch are the sigma^2 that the probes see."""
    model = build_connection("pre", norm=kind, dropout=0.1)
    source, target = batch()
    sample = {"net_input": {"src_tokens": source, "src_lengths": None, "prev_output_tokens": target}, "target": target}
    fresh.settle(model, sample)
    records = fresh.measured(["gradients", "growth", "points"], model, sample, {}, None, "post")
    assert {r["probe"] for r in records} == {"gradients", "growth", "points"}
    assert all(r["options"] == f"norm={kind}" for r in records)
    if kind == "un":
        norm = model.encoder.layers[1].final_layer_norm
        assert torch.equal(norm.running, norm.moment_window[-1]) and not torch.equal(norm.running, torch.ones(32))
