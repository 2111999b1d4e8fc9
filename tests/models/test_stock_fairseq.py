"""Stock fairseq's Transformer and ours: the same parameters, outputs and gradients."""

import re

import pytest
import torch
from builders import assert_same_gradients, batch, build, gradients, randomise

UNUSED_COPY = re.compile(r"\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")  # fairseq 0.12.2 has them in each layer
CASES = {"post": False, "pre": True}
OPTIONS = [
    {},
    {"share_all_embeddings": True},
    {"activation_fn": "gelu", "encoder_learned_pos": True, "decoder_learned_pos": True},
    {"layernorm_embedding": True, "no_scale_embedding": True},
    {"decoder_embed_dim": 16, "decoder_output_dim": 24},
    {"adaptive_softmax_cutoff": "10,20"},
]


def pair(connection: str, **options):
    before = CASES[connection]
    stock = build("transformer", encoder_normalize_before=before, decoder_normalize_before=before, **options)
    for layer in stock.encoder.layers:
        layer.can_use_fastpath = False  # fairseq 0.12.2's inference path fails on a recent torch
    return randomise(stock), build(f"transformer_{connection}_6_6", **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("connection", CASES)
def test_checkpoints_fit_both_ways_and_give_the_same(connection, options):
    stock, ours = pair(connection, **options)
    ours.load_state_dict(stock.state_dict(), strict=True)
    missing, unexpected = torch.nn.Module.load_state_dict(stock, ours.state_dict(), strict=False)
    assert unexpected == [] and all(UNUSED_COPY.search(name) for name in missing)
    source, target = batch()
    stock.eval(), ours.eval()
    expected, extra = stock(source, None, target)
    got, our_extra = ours(source, None, target)
    assert (got - expected).abs().max() <= 1e-5
    assert (our_extra["attn"][0] - extra["attn"][0]).abs().max() <= 1e-6
    assert len(our_extra["inner_states"]) == len(extra["inner_states"])
    for mine, theirs in zip(our_extra["inner_states"], extra["inner_states"], strict=True):
        assert (mine - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("connection", CASES)
def test_gradients_are_the_same(connection):
    stock, ours = pair(connection)
    ours.load_state_dict(stock.state_dict(), strict=True)
    assert_same_gradients(gradients(stock.train(), *batch()), gradients(ours.train(), *batch()), tolerance=2e-6)


@pytest.mark.parametrize("connection", CASES)
def test_parameters_stand_in_the_same_order(connection):
    """Optimizer states are saved by position."""
    stock, ours = pair(connection)
    assert [(name, p.shape) for name, p in ours.named_parameters()] == [
        (name, p.shape) for name, p in stock.named_parameters() if not UNUSED_COPY.search(name)
    ]


def test_post_and_pre_are_what_they_say():
    """A final LayerNorm belongs to Pre-LN alone."""
    assert build("transformer_post_6_6").decoder.layer_norm is None
    assert build("transformer_b2t_6_6").encoder.layer_norm is None
    assert build("transformer_pre_6_6").decoder.layer_norm is not None


def test_old_parameter_names_are_understood():
    ours = build("transformer_post_6_6")
    state = dict(ours.state_dict())
    layer, decoder_layer = "encoder.layers.0", "decoder.layers.1"
    for part in ("weight", "bias"):
        qkv = [state.pop(f"{layer}.self_attn.{x}_proj.{part}") for x in "qkv"]
        state[f"{layer}.self_attn.in_proj_{part}"] = torch.cat(qkv)
        state[f"{layer}.layer_norms.1.{part}"] = state.pop(f"{layer}.final_layer_norm.{part}")
        state[f"{decoder_layer}.layer_norms.1.{part}"] = state.pop(f"{decoder_layer}.encoder_attn_layer_norm.{part}")
        state[f"{layer}.in_proj_{part}"] = torch.zeros(3)  # fairseq 0.12.2's unused copies
        state[f"{layer}.fc2_{part}"] = torch.zeros(3)
    other = build("transformer_post_6_6", seed=7)
    other.load_state_dict(state, strict=True)
    for name, value in ours.named_parameters():
        assert torch.equal(value, other.state_dict()[name]), name
