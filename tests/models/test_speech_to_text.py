"""The speech recogniser: every connection in both stacks, and fairseq's own where they are the same."""

import copy

import pytest
import torch
from builders import ALL_CONNECTIONS, PAD, assert_same_gradients, batch, build_speech, randomise, speech
from fairseq.models import ARCH_MODEL_REGISTRY

from b2t_fairseq import UserError
from b2t_fairseq.models.speech_to_text import B2TSpeechToTextModel


def loss_gradients(model) -> dict[str, torch.Tensor]:
    """Gradients through decoder and CTC head."""
    model.zero_grad()
    _, target = batch()
    output = model(*speech(), target)
    ctc, lengths = model.get_ctc_output(output, None)
    real = torch.arange(ctc.size(0))[:, None] < lengths
    loss = (output[0].tanh().cumsum(-1) * target.ne(PAD).unsqueeze(-1)).sum() + (ctc[..., 7] * real).sum()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_step_by_step_equals_the_full_forward(connection):
    model = randomise(build_speech(connection=connection)).eval()
    _, target = batch()
    encoded = model.encoder(*speech())
    full, _ = model.decoder(target, encoder_out=encoded)
    state = {}
    steps = [
        model.decoder(target[:, : i + 1], encoder_out=encoded, incremental_state=state)[0]
        for i in range(target.size(1))
    ]
    assert (torch.cat(steps, 1) - full)[target.ne(PAD)].abs().max() <= 2e-6 * full.abs().max().clamp(min=1)


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_parameter_learns_with_and_without_recomputation(connection):
    plain = randomise(build_speech(connection=connection))
    recomputing = copy.deepcopy(plain)
    for stack in (recomputing.encoder.transformer_layers, recomputing.decoder.layers):
        stack.checkpoint_activations = True
    found, again = loss_gradients(plain), loss_gradients(recomputing)
    assert [name for name, _ in plain.named_parameters() if name not in found or not found[name].abs().sum() > 0] == []
    assert_same_gradients(found, again, tolerance=1e-6)


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_connection_has_its_architectures(connection):
    for depths in ("6_6", "12_6"):
        for size in ("", "_tiny"):
            name = f"s2t_transformer_{connection}_{depths}{size}"
            assert ARCH_MODEL_REGISTRY[name] is B2TSpeechToTextModel
    assert f"connection:{connection}|" in build_speech(name).signature


@pytest.mark.parametrize(("connection", "before"), [("post", False), ("pre", True)])
def test_stock_checkpoints_fit_both_ways_and_give_the_same(connection, before):
    stock = build_speech("s2t_transformer", encoder_normalize_before=before, decoder_normalize_before=before)
    for layer in stock.encoder.transformer_layers:
        layer.can_use_fastpath = False  # fairseq 0.12.2's inference path fails on a recent torch
    stock, ours = randomise(stock), build_speech(f"s2t_transformer_{connection}_12_6", subsampler_padding="stock")
    ours.load_state_dict(stock.state_dict(), strict=True)
    stock.load_state_dict(ours.state_dict(), strict=True)
    stock.eval(), ours.eval()
    _, target = batch()
    assert (stock(*speech(), target)[0] - ours(*speech(), target)[0]).abs().max() <= 2e-6
    assert_same_gradients(loss_gradients(stock), loss_gradients(ours), tolerance=2e-6)


def test_post_type_models_are_post():
    model = build_speech("s2t_transformer_b2t_12_6")
    assert model.encoder.layer_norm is None and model.decoder.layer_norm is None
    assert "encoder.transformer_layers.0.fc1.weight" in model.state_dict()


def test_a_missing_pretrained_encoder_is_an_error():
    with pytest.raises(UserError, match="nowhere.pt does not exist"):
        build_speech(load_pretrained_encoder_from="nowhere.pt")


@pytest.mark.parametrize("connection", ["b2t", "deepnet"])
def test_a_pretrained_encoder_survives_the_initialisation(connection, tmp_path):
    pretrained = randomise(build_speech(connection=connection, seed=9))
    history = {
        "optimizer_history": [{"best_loss": 0.0, "num_updates": 1}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "cfg": {},
    }
    torch.save({"model": pretrained.state_dict(), **history}, tmp_path / "pretrained.pt")
    model = build_speech(connection=connection, load_pretrained_encoder_from=str(tmp_path / "pretrained.pt"))
    for name, value in model.encoder.named_parameters():
        assert torch.equal(value, pretrained.encoder.state_dict()[name]), name
