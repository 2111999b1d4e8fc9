"""Steps of incremental decoding against one pass over the whole target, for models that users have changed, too."""

import pytest
import torch
from builders import build_connection, randomise

pytestmark = [pytest.mark.usefixtures("kernels"), pytest.mark.parametrize("sentences", [2, 40])]


@torch.no_grad()
def outputs(model, sentences, dtype=torch.float32):
    """Return the logits (B, T, V) of one pass and of the steps, these under autocast if dtype is bfloat16."""
    random = torch.Generator().manual_seed(0)
    encoded = model.encoder(torch.randint(4, 50, (sentences, 11), generator=random))
    tokens, state = torch.randint(4, 50, (sentences, 4), generator=random), {}
    full, _ = model.decoder(tokens, encoded)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        steps = [model.decoder(tokens[:, : i + 1], encoded, state, False, False)[0] for i in range(4)]
    return full, torch.cat(steps, 1)


def test_decoding_under_autocast(sentences):
    full, steps = outputs(randomise(build_connection("post")).eval(), sentences, torch.bfloat16)
    assert (steps - full).abs().max() <= 0.05 * full.abs().max()


@pytest.mark.parametrize("change", ["hook", "output hook", "wrapper", "computed weight", "output layer"])
def test_what_users_change_in_a_layer_counts_in_decoding(change, sentences):
    model = randomise(build_connection("b2t")).eval()
    layer, decoder = model.decoder.layers[0], model.decoder
    unchanged, _ = outputs(model, sentences)
    if change == "hook":
        layer.fc1.register_forward_hook(lambda module, inputs, output: output + 1)
    elif change == "output hook":
        decoder.output_projection.register_forward_hook(lambda module, inputs, output: output * 2)
    elif change == "wrapper":
        layer.fc1 = torch.nn.Sequential(layer.fc1, torch.nn.Tanh())
    elif change == "computed weight":
        torch.nn.utils.parametrizations.weight_norm(layer.fc1)
        torch.nn.init.constant_(layer.fc1.parametrizations.weight.original0, 3)
    else:
        base = type(decoder)
        decoder.__class__ = type("Own", (base,), {"output_layer": lambda self, x: base.output_layer(self, x) * 2})
    full, steps = outputs(model, sentences)
    assert (full - unchanged).abs().max() > 0.01
    assert (steps - full).abs().max() <= 1e-5


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_the_activation_is_the_models_with_and_without_packed_weights(activation, sentences):
    full, steps = outputs(randomise(build_connection("b2t", activation_fn=activation)).eval(), sentences)
    assert (steps - full).abs().max() <= 1e-5
