"""HybridNorm and Sub-LN: norms inside attention act alike in training, scoring and decoding.

Stock attention calls torch's functional form with the raw weights, which skips a norm wrapped around a projection.
"""

import pytest
import torch
from builders import batch, build_connection, randomise
from torch.nn import functional

from b2t_fairseq.layers import MultiheadAttention

PER_HEAD = ("q_layer_norm", "k_layer_norm", "v_layer_norm")
INSIDE = {"hybrid": PER_HEAD, "hybrid_star": PER_HEAD, "sub_ln": ("inner_layer_norm",)}


@pytest.mark.parametrize(("name", "norm"), [(name, norm) for name, norms in INSIDE.items() for norm in norms])
@pytest.mark.parametrize("path", ["training", "scoring", "decoding"])
def test_each_norm_acts_on_each_path(name, norm, path):
    model = randomise(build_connection(name)).train(path == "training")
    source, target = batch()

    def run():
        encoded = model.encoder(source)
        if path == "decoding":
            state = {}
            model.decoder(target[:, :1], encoder_out=encoded, incremental_state=state)
            return model.decoder(target[:, :2], encoder_out=encoded, incremental_state=state)[0]
        return model.decoder(target, encoder_out=encoded)[0]

    before = run()
    with torch.no_grad():
        getattr(model.decoder.layers[0].self_attn, norm).weight.mul_(-1.5)
    assert (run() - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", INSIDE)
def test_with_and_without_attention_weights_agree(name):
    model = randomise(build_connection(name)).eval()
    source, target = batch()
    with_weights = model(source, None, target)[0]
    for layer in model.decoder.layers:
        layer.make_generation_fast_(need_attn=False)
    without, extra = model(source, None, target)
    assert extra["attn"] == [None]
    assert torch.allclose(with_weights, without, atol=1e-5)


@pytest.mark.parametrize("norm", ["q", "k", "v", "inner"])
def test_each_norm_acts_where_attention_weights_are_computed(norm):
    attention = randomise(MultiheadAttention(16, 4, inner_norms=(norm,)))
    x = torch.randn(5, 2, 16)
    without, with_weights = (attention(x, causal=True, need_weights=need)[0] for need in (False, True))
    assert torch.allclose(without, with_weights, atol=1e-5)


@pytest.mark.parametrize("kind", ["self_attn", "encoder_attn"])
def test_the_cache_holds_normed_keys_and_values(kind):
    model = randomise(build_connection("hybrid")).eval()
    source, target = batch()
    state, encoded = {}, model.encoder(source)
    attention, seen = getattr(model.decoder.layers[1], kind), []
    attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for i in range(1, 4):
        model.decoder(target[:, :i], encoder_out=encoded, incremental_state=state)
    memory = torch.cat(seen) if kind == "self_attn" else encoded["encoder_out"][0]  # (S, B, C)
    assert len(seen) == 3
    (cache,) = state.values()
    written = cache.written[cache.places.get((2, attention), 0)]
    keys, values = written if kind == "self_attn" else cache.source(attention, project=None)
    for name, cached in (("k", keys), ("v", values)):
        norm = getattr(attention, f"{name}_layer_norm")
        projected = getattr(attention, f"{name}_proj")(memory)
        heads = torch.stack(projected.chunk(attention.heads, -1)).permute(2, 0, 1, 3)
        assert norm.weight.shape == (attention.head_width,)
        expected = functional.layer_norm(heads, norm.weight.shape, norm.weight, norm.bias)
        assert torch.allclose(cached[:, :, : len(memory)], expected, atol=1e-5)
