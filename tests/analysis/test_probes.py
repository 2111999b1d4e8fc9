"""The probes' numbers, computed again without them: autograd by hand, plain torch, numpy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import ALL_CONNECTIONS, PAD, batch, build, build_language_model, build_speech, randomise, speech
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from b2t_fairseq import UserError
from b2t_fairseq.analysis import during_training, probes

OUTPUT_IS_COMPUTED = ("hyper", "mhc", "attn_res")  # no later layer reads it: the gradient is that of the stream
WITHOUT_POINTS = ("b2t_no_ln", "tfixup", "hybrid", "hybrid_star", "keel", "siamese", "res_post", *OUTPUT_IS_COMPUTED)


def sample(seed: int = 0, extra: int = 0) -> dict:
    """A batch as fairseq collates it; `extra` more columns of padding on both sides."""
    source, shifted = batch(seed)
    source, shifted = F.pad(source, (extra, 0), value=PAD), F.pad(shifted, (0, extra), value=PAD)
    target = torch.full_like(shifted, PAD)
    target[:, :-1] = shifted[:, 1:]
    target[shifted.ne(PAD).sum(1).sub(1).unsqueeze(1) == torch.arange(shifted.size(1))] = 2
    inputs = {"src_tokens": source, "src_lengths": source.ne(PAD).sum(1), "prev_output_tokens": shifted}
    return {"net_input": inputs, "target": target}


def by_hand(model, given: dict):
    """Loss and the layers' outputs by fairseq's own lists, with a graph; no hooks."""
    inputs = given["net_input"]
    encoded = model.encoder(inputs["src_tokens"], inputs["src_lengths"], return_all_hiddens=True)
    logits, extra = model.decoder(inputs["prev_output_tokens"], encoder_out=encoded)
    picked = F.log_softmax(logits, -1).gather(-1, given["target"].unsqueeze(-1)).squeeze(-1)
    real = given["target"].ne(PAD)
    return -picked[real].sum() / real.sum(), {
        "encoder": encoded["encoder_states"][1:],
        "decoder": extra["inner_states"][1:],
    }


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_gradients_are_those_of_autograd(connection, monkeypatch):
    model = randomise(build(connection=connection)).eval()
    given = sample()
    with monkeypatch.context() as patch:
        if connection in OUTPUT_IS_COMPUTED:
            patch.setattr(type(model.encoder.layers.connection), "output", lambda self, stream: stream)
        loss, outputs = by_hand(model, given)
    wanted = [(side, i + 1, x) for side, xs in outputs.items() for i, x in enumerate(xs)]
    of_tensors = [torch.autograd.grad(loss, tree_leaves(x), retain_graph=True) for *_, x in wanted]
    expected = [torch.cat([g.flatten() for g in gradients]) for gradients in of_tensors]
    records = probes.measure(model, given, "gradients")
    assert [(r["side"], r["layer"]) for r in records] == [(side, i) for side, i, _ in wanted]
    assert [r["value"] for r in records] == pytest.approx([g.double().norm().item() for g in expected], rel=1e-6)
    loss.backward()
    records = {(r["side"], r["layer"], r["weights"]): r["value"] for r in probes.measure(model, given, "ffn-gradients")}
    for side, half in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, layer in enumerate(half.layers, 1):
            first, second = (fc.weight.grad.double().norm().item() for fc in (layer.fc1, layer.fc2))
            assert records[side, i, "fc1"] == pytest.approx(first, rel=1e-6)
            assert records[side, i, "fc2"] == pytest.approx(second, rel=1e-6)
            assert records[side, i, "fc1+fc2"] == pytest.approx(np.hypot(first, second), rel=1e-6)


def plain_layer(layer, x, memory, masks, is_post: bool):
    """A decoder layer of post or pre in plain torch; the tensors at the five points, in order, and its output."""

    def norm(name, x):
        own = getattr(layer, f"{name}_layer_norm")
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * own.weight + own.bias

    def attend(attention, x, memory, mask):
        def heads(x):
            return x.view(len(x), x.size(1), 2, -1).permute(1, 2, 0, 3)

        q, k, v = attention.q_proj(x), attention.k_proj(memory), attention.v_proj(memory)
        scores = heads(q) @ heads(k).transpose(-1, -2) / heads(q).size(-1) ** 0.5
        values = scores.masked_fill(mask, float("-inf")).softmax(-1) @ heads(v)
        return attention.out_proj(values.permute(2, 0, 1, 3).reshape(x.shape))

    branches = {
        "self_attn": lambda x: attend(layer.self_attn, x, x, masks[0]),
        "encoder_attn": lambda x: attend(layer.encoder_attn, x, memory, masks[1]),
        "final": lambda x: layer.fc2(layer.fc1(x).relu()),
    }
    points = []
    normed = None if is_post else norm("self_attn", x)
    following = {"self_attn": "encoder_attn", "encoder_attn": "final"}
    for name, branch in branches.items():
        total = x + branch(x if is_post else normed)
        points.append(total)
        if is_post:
            x = norm(name, total)
            points.append(x)
        else:
            x = total
            if name in following:
                normed = norm(following[name], total)
                points.append(normed)
    return points[:5], x


@pytest.mark.parametrize("connection", ["post", "pre"])
def test_the_five_points_are_those_of_a_plain_layer(connection):
    model = randomise(build(connection=connection)).eval()
    given = sample()
    loss, outputs = by_hand(model, given)
    first, second = outputs["decoder"]
    (gradient,) = torch.autograd.grad(loss, second)
    padding = given["net_input"]["src_tokens"].eq(PAD)
    later = torch.ones(7, 7, dtype=torch.bool).triu(1) | given["net_input"]["prev_output_tokens"].eq(PAD)[:, None, None]
    encoded = model.encoder(given["net_input"]["src_tokens"])["encoder_out"][0]
    masks = later, padding[:, None, None, :]
    points, output = plain_layer(model.decoder.layers[1], first, encoded, masks, connection == "post")
    torch.testing.assert_close(output, second, atol=1e-5, rtol=1e-5)
    expected = torch.autograd.grad(output, points, gradient)
    records = probes.measure(model, given, "points", [2])
    assert [(r["layer"], r["point"]) for r in records] == [(2, point) for point in range(1, 6)]
    values = [r["value"] for r in records]
    assert values == pytest.approx([g.double().norm().item() for g in expected], rel=1e-5)
    (last,) = {r["norm"] for r in records}
    assert last == ("after the branch" if connection == "post" else "before the branch")


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_points_exist_or_are_refused(connection):
    model = build(connection=connection)
    if connection in WITHOUT_POINTS:
        with pytest.raises(UserError, match=f"connection '{connection}' has no LayerNorm"):
            probes.measure(model, sample(), "points")
    else:
        found = [(r["layer"], r["point"]) for r in probes.measure(model, sample(), "points")]
        assert found == [(layer, point) for layer in (1, 2) for point in range(1, 6)]


def test_layers_of_points():
    assert [probes.default_layers(depth) for depth in (18, 6, 2, 1)] == [[1, 9, 18], [1, 3, 6], [1, 2], [1]]
    with pytest.raises(UserError, match="layers 1 to 2"):
        probes.measure(build(), sample(), "points", [3])


def test_similarity_and_growth_are_numpys():
    model = randomise(build(connection="b2t")).eval()
    given = sample()
    _, outputs = by_hand(model, given)
    real = {
        "encoder": given["net_input"]["src_tokens"] != PAD,
        "decoder": given["net_input"]["prev_output_tokens"] != PAD,
    }
    records = probes.measure(model, given, ["similarity", "growth"])
    similarities = {(r["side"], r["layer"], r["other"]): r["value"] for r in records if r["probe"] == "similarity"}
    variances = {(r["side"], r["layer"]): r["value"] for r in records if r["probe"] == "growth"}
    assert len(similarities) == 6 + 3 and len(variances) == 5
    for side, states in outputs.items():
        x = [s.detach().double().numpy()[real[side].T.numpy()] for s in states]
        for i, a in enumerate(x, 1):
            assert variances[side, i] == pytest.approx(np.var(a), rel=1e-9)
            for j, b in enumerate(x[i - 1 :], i):
                cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
                assert similarities[side, i, j] == pytest.approx(cosines.mean(), rel=1e-9)


@pytest.mark.parametrize("connection", ["post", "pre", "dlcl_pre"])
def test_padding_changes_nothing(connection):
    model = randomise(build(connection=connection))
    names = list(probes.PROBES)
    plain, padded = probes.measure(model, sample(), names), probes.measure(model, sample(extra=4), names)
    assert [r["value"] for r in padded] == pytest.approx([r["value"] for r in plain], rel=1e-4)


def test_the_gradient_at_padding_is_zero():
    model = build(connection="pre").eval()
    given = sample()
    loss, outputs = by_hand(model, given)
    for side, name in (("encoder", "src_tokens"), ("decoder", "prev_output_tokens")):
        for gradient in torch.autograd.grad(loss, outputs[side], retain_graph=True):
            assert not gradient[given["net_input"][name].eq(PAD).T].any()


def test_a_probe_leaves_everything_as_it_was():
    model = build(connection="b2t", dropout=0.3, encoder_layerdrop=0.5, checkpoint_activations=True).train()
    model.encoder.layers[0].eval()  # someone's own choice
    given = sample()
    probes.mean_nll(model, given).backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    once, again = (probes.measure(model, given, list(probes.PROBES)) for _ in range(2))
    assert once == again, "no dropout, no dropped layer"
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert all(stack.checkpoint_activations for stack in probes.stacks_of(model).values())
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(before)
    assert all(torch.equal(model.get_parameter(name).grad, gradient) for name, gradient in before.items())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks


def test_a_language_models_adaptive_softmax_counts_every_word():
    model = build_language_model().eval()
    tokens = torch.arange(4, 34).view(2, 15)
    target = tokens.roll(-1, 1)
    target[1, 9:], tokens[1, 9:] = PAD, PAD
    target[0, 0] = 11  # number 1, that of padding, within its cluster
    given = {"net_input": {"src_tokens": tokens, "src_lengths": torch.tensor([15, 9])}, "target": target}
    output = model(**given["net_input"])
    log_probabilities = model.get_normalized_probs(output, log_probs=True, sample={"target": target})
    picked = log_probabilities.view(2, 15, -1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    expected = -picked[target.ne(PAD)].mean()
    assert probes.mean_nll(model, given).item() == pytest.approx(expected.item(), rel=1e-6)
    records = probes.measure(model, given, ["gradients", "points", "growth", "similarity"])
    assert {r["side"] for r in records} == {"decoder"}
    assert {r["point"] for r in records if r["probe"] == "points"} == {1, 2, 5}
    assert all(r["value"] > 0 for r in records)


def test_speech_is_measured_on_real_frames():
    model = build_speech(connection="pre")
    features, lengths = speech()
    _, shifted = batch()
    inputs = {"src_tokens": features, "src_lengths": lengths, "prev_output_tokens": shifted}
    names = ["gradients", "growth"]
    records = probes.measure(model, {"net_input": inputs, "target": shifted}, names)
    assert [(r["side"], r["layer"]) for r in records if r["probe"] == "growth"] == [
        *(("encoder", i) for i in (1, 2, 3)),
        *(("decoder", i) for i in (1, 2)),
    ]
    encoded = model.eval().encoder(features, lengths, return_all_hiddens=True)
    real = ~encoded["encoder_padding_mask"][0].T
    assert not real.all()
    variances = [state[real].var(unbiased=False).item() for state in encoded["encoder_states"]]
    found = [r["value"] for r in records if r["probe"] == "growth" and r["side"] == "encoder"]
    assert found == pytest.approx(variances, rel=1e-5)


def test_scale_cancels_out_and_frozen_parameters_are_refused():
    model = build(connection="post")
    plain, scaled = (probes.measure(model, sample(), "gradients", scale=scale) for scale in (1.0, 2.0**16))
    assert [r["value"] for r in scaled] == pytest.approx([r["value"] for r in plain], rel=1e-12)
    model.requires_grad_(False)
    with pytest.raises(UserError, match="frozen"):
        probes.measure(model, sample(), "gradients")
    assert probes.measure(model, sample(), "growth")


def test_half_precision_needs_the_scale_that_training_has():
    trainer = SimpleNamespace(
        cfg=SimpleNamespace(common=SimpleNamespace(fp16=True)),
        optimizer=SimpleNamespace(scaler=SimpleNamespace(loss_scale=128.0)),
    )
    scale = during_training.scale_of(trainer, {"ntokens": 1000})
    assert scale == 2.0**17
    model = build(connection="b2t")
    with torch.no_grad():
        model.decoder.output_projection.weight.mul_(1e-5)  # gradients below float16's smallest number
    exact = [r["value"] for r in probes.measure(model, sample(), "gradients")]
    half = model.half()
    rough = [r["value"] for r in probes.measure(half, sample(), "gradients", scale=scale)]
    assert rough == pytest.approx(exact, rel=0.05) and max(exact) < 1e-4
    assert [r["value"] for r in probes.measure(half, sample(), "gradients")] != pytest.approx(exact, rel=0.05)
    trainer.cfg.common.fp16 = False
    assert during_training.scale_of(trainer, {"ntokens": 1000}) == 1


def test_a_number_that_is_not_finite_is_none():
    model = build(connection="pre")
    with torch.no_grad():
        model.decoder.layers[1].fc2.bias.fill_(float("inf"))
    values = [r["value"] for r in probes.measure(model, sample(), "growth") if r["side"] == "decoder"]
    assert values[0] > 0 and values[1] is None
