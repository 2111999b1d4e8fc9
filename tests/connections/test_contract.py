"""What every connection promises, whatever its formula: run over all registered names."""

import copy

import pytest
import torch
from builders import ALL_CONNECTIONS, PAD, assert_same_gradients, batch, build_connection, gradients, randomise

pytestmark = pytest.mark.parametrize("connection", ALL_CONNECTIONS)
DEPTHS = ((3, 2), (1, 4))


@pytest.mark.parametrize("depths", DEPTHS)
def test_step_by_step_decoding_equals_the_full_forward(connection, depths):
    model = randomise(build_connection(connection, encoder_layers=depths[0], decoder_layers=depths[1])).eval()
    source, target = batch()
    encoded = model.encoder(source)
    full, _ = model.decoder(target, encoder_out=encoded)
    state = {}
    steps = [
        model.decoder(target[:, : i + 1], encoder_out=encoded, incremental_state=state)[0]
        for i in range(target.size(1))
    ]
    real = target.ne(PAD)
    assert (torch.cat(steps, 1) - full)[real].abs().max() <= 1e-5 * full.abs().max().clamp(min=1)


def test_the_beam_is_followed(connection):
    model = randomise(build_connection(connection)).eval()
    source, target = batch()
    order = torch.tensor([4, 4, 0, 2, 1])
    encoded, state = model.encoder(source), {}
    model.decoder(target[:, :1], encoder_out=encoded, incremental_state=state)
    model.decoder(target[:, :2], encoder_out=encoded, incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, order)
    prefix = torch.cat([target[order, :2], target[:, 2:3]], 1)
    reordered = model.encoder.reorder_encoder_out(encoded, order)
    step, _ = model.decoder(prefix, encoder_out=reordered, incremental_state=state)
    full, _ = model.decoder(prefix, encoder_out=reordered)
    assert torch.allclose(step[:, -1], full[:, -1], atol=1e-4, rtol=1e-5)


def test_the_future_is_hidden(connection):
    model = randomise(build_connection(connection)).eval()
    source, target = batch()
    changed = target.clone()
    changed[:, 5] = 7
    before, after = (model(source, None, tokens)[0] for tokens in (target, changed))
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5], after[:, 5])


def test_padding_does_not_count(connection):
    model = randomise(build_connection(connection)).eval()
    source, target = batch()
    wider = torch.cat([torch.full((len(source), 3), PAD), source], 1)
    longer = torch.cat([target, torch.full((len(target), 2), PAD)], 1)
    narrow = model(source, None, target)[0]
    wide = model(wider, None, longer)[0][:, : target.size(1)]
    real = target.ne(PAD)
    assert (narrow - wide)[real].abs().max() <= 1e-5 * narrow.abs().max().clamp(min=1)


def test_every_parameter_learns(connection):
    model = randomise(build_connection(connection))
    found = gradients(model, *batch())
    dead = [name for name, p in model.named_parameters() if name not in found or not found[name].abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activation_checkpointing_changes_nothing(connection, dropout):
    plain = randomise(build_connection(connection, dropout=dropout)).train()
    recomputing = copy.deepcopy(plain)
    for stack in (recomputing.encoder.layers, recomputing.decoder.layers):
        stack.checkpoint_activations = True
    found = []
    for model in (plain, recomputing):
        torch.manual_seed(5)
        found.append(gradients(model, *batch()))
    assert_same_gradients(*found, tolerance=1e-6)


def test_save_and_load(connection, tmp_path):
    model = randomise(build_connection(connection)).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = build_connection(connection, seed=9).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt"), strict=True)
    assert torch.equal(model(*batch_args())[0], other(*batch_args())[0])


def test_the_names_are_in_the_signature_and_the_printout(connection):
    model = build_connection(connection)
    assert f"connection:{connection}|init:{model.encoder.layers.init_name}|layers:3-2|" in model.signature
    printed = repr(model)
    assert f"connection={connection}, init={model.encoder.layers.init_name}, layers=3" in printed
    assert "number=3" in printed


def test_no_layer_is_the_identity(connection):
    """A misspelt variant once built a layer that returned its input; nothing failed."""
    model = randomise(build_connection(connection)).eval()
    states = model.encoder(batch()[0], return_all_hiddens=True)["encoder_states"]
    assert len(states) == 4
    for before, after in zip(states, states[1:], strict=False):
        assert (before - after).abs().max() > 1e-3


def batch_args():
    source, target = batch()
    return source, None, target
