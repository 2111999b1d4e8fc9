"""The language model: every connection in a decoder-only stack, and fairseq's own where they are the same."""

import copy

import pytest
import torch
from builders import ALL_CONNECTIONS, assert_same_gradients, build_language_model, randomise
from fairseq.models import ARCH_MODEL_REGISTRY

from b2t_fairseq import UserError
from b2t_fairseq.models.language_model import B2TLanguageModel

TOKENS = torch.randint(4, 50, (4, 9), generator=torch.Generator().manual_seed(0))


def loss_gradients(model) -> dict[str, torch.Tensor]:
    """Gradients through input embedding, stack and adaptive softmax."""
    model.zero_grad()
    features, _ = model(TOKENS)
    if model.decoder.adaptive_softmax is None:
        features.tanh().cumsum(-1).sum().backward()
    else:
        logits, targets = model.decoder.adaptive_softmax(features, TOKENS.roll(-1, 1))
        parts = [(x, t) for x, t in zip(logits, targets, strict=True) if x is not None]
        sum(torch.nn.functional.cross_entropy(x, t) for x, t in parts).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_step_by_step_equals_the_full_forward(connection):
    model = randomise(build_language_model(connection=connection)).eval()
    full, _ = model(TOKENS)
    state = {}
    steps = [model.decoder(TOKENS[:, : i + 1], incremental_state=state)[0] for i in range(TOKENS.size(1))]
    assert (torch.cat(steps, 1) - full).abs().max() <= 2e-6 * full.abs().max().clamp(min=1)


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_parameter_learns_with_and_without_recomputation(connection):
    plain = randomise(build_language_model(connection=connection))
    recomputing = copy.deepcopy(plain)
    recomputing.decoder.layers.checkpoint_activations = True
    found, again = loss_gradients(plain), loss_gradients(recomputing)
    assert [name for name, _ in plain.named_parameters() if name not in found or not found[name].abs().sum() > 0] == []
    assert_same_gradients(found, again, tolerance=1e-6)


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_connection_has_its_architectures(connection):
    for suffix in ("", "_6", "_16", "_6_tiny", "_16_tiny"):
        assert ARCH_MODEL_REGISTRY[f"transformer_lm_{connection}{suffix}"] is B2TLanguageModel
    model = build_language_model(f"transformer_lm_{connection}_6")
    assert f"connection:{connection}" in model.signature and "|layers:3|" in model.signature


@pytest.mark.parametrize(
    ("stock", "ours"),
    [("transformer_lm", "transformer_lm_post"), ("transformer_lm_wiki103", "transformer_lm_pre_16")],
)
def test_stock_checkpoints_fit_both_ways_and_give_the_same(stock, ours):
    stock, ours = randomise(build_language_model(stock)), build_language_model(ours)
    ours.load_state_dict(stock.state_dict(), strict=True)
    stock.load_state_dict(ours.state_dict(), strict=True)
    assert (stock.eval()(TOKENS)[0] - ours.eval()(TOKENS)[0]).abs().max() <= 2e-6
    assert_same_gradients(loss_gradients(stock), loss_gradients(ours), tolerance=2e-6)


def test_post_type_models_are_post():
    """fairseq's named language models are Pre-LN whatever they are told."""
    assert build_language_model("transformer_lm_post_16").decoder.layer_norm is None
    assert build_language_model("transformer_lm_wiki103").decoder.layers[0].normalize_before


def test_the_final_norm_of_pre_ln_shows_in_the_signature():
    without, with_norm = build_language_model("transformer_lm_pre_16"), build_language_model("transformer_lm_pre")
    assert without.decoder.layer_norm is None and "connection:pre(final_norm=false)|" in without.signature
    assert with_norm.decoder.layer_norm is not None and "connection:pre|" in with_norm.signature
    assert build_language_model("transformer_lm_b2t_16", connection="peri").decoder.layer_norm is not None
    with pytest.raises(UserError, match="--no-decoder-final-norm does not go with --connection peri"):
        build_language_model(connection="peri", no_decoder_final_norm=True)


@pytest.mark.parametrize(
    "options",
    [
        {"adaptive_input": False},
        {"adaptive_softmax_cutoff": "10,30"},
        {"adaptive_input_factor": 2},
        {"character_embeddings": True},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(UserError):
        build_language_model(**options)
