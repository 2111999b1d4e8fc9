"""Each initialisation against its rule, matrix by matrix."""

import math

import pytest
import torch
from builders import PAD, build_connection, build_language_model

from b2t_fairseq import UserError
from b2t_fairseq.init.sub_ln import sub_ln_gamma
from b2t_fairseq.layers import StackConfig

N, M = 3, 5


def build(init: str, **options):
    """A model with N != M, wide enough for its matrices' spread to be measured."""
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in SIZES.items()}
    return build_connection(
        "post", connection_init=init, **{**sizes, "encoder_layers": N, "decoder_layers": M, **options}
    )


SIZES = {"embed_dim": 96, "ffn_embed_dim": 160}


def matrices(model):
    """(side, layer number, "SA"/"CA"/"FF", projection name, module) of every projection of the layers."""
    for side in ("encoder", "decoder"):
        for layer in getattr(model, side).layers:
            for kind, owner in (("SA", "self_attn"), ("CA", "encoder_attn")):
                for name in ["q_proj", "k_proj", "v_proj", "out_proj"] if hasattr(layer, owner) else ():
                    yield side, layer.number, kind, name, getattr(getattr(layer, owner), name)
            for name in ("fc1", "fc2"):
                yield side, layer.number, "FF", name, getattr(layer, name)


def xavier(module, gain: float = 1.0) -> float:
    """The standard deviation of a xavier initialisation, uniform or normal."""
    return gain * math.sqrt(2 / sum(module.weight.shape))


def is_uniform(weight) -> bool:
    """Whether the largest entry is that of a uniform distribution, sqrt(3) standard deviations."""
    return (weight.abs().max() / weight.std()).item() < 1.9


def test_deepnet():
    beta = {"encoder": 0.87 * (N**4 * M) ** (-1 / 16), "decoder": (12 * M) ** -0.25}
    for side, _, _, name, module in matrices(build("deepnet")):
        gain = 1 if name in ("q_proj", "k_proj") else beta[side]
        assert module.weight.std().item() == pytest.approx(xavier(module, gain), rel=0.05)
        assert not is_uniform(module.weight)
        assert not module.bias.any()


@pytest.mark.parametrize(
    ("config", "gamma"),
    [
        (StackConfig("encoder", 6, 8, 8, 2, other_depth=6), 1.5473),
        (StackConfig("decoder", 6, 8, 8, 2, other_depth=6), 1.7001),
        (StackConfig("decoder", 6, 8, 8, 2), 1.5764),
        (StackConfig("encoder", 60, 8, 8, 2, other_depth=12), math.sqrt(math.log(36) * math.log(120) / 3)),
        (StackConfig("decoder", 12, 8, 8, 2, other_depth=60), math.sqrt(math.log(36))),
    ],
)
def test_sub_ln_gamma(config, gamma):
    assert sub_ln_gamma(config) == pytest.approx(gamma, abs=5e-5)


def test_sub_ln():
    gamma = {"encoder": math.sqrt(math.log(3 * M) * math.log(2 * N) / 3), "decoder": math.sqrt(math.log(3 * M))}
    stock = matrices(build("default"))
    for (side, _, kind, name, module), (*_, before) in zip(matrices(build("sub_ln")), stock, strict=True):
        factor = 1 if kind == "CA" or name in ("q_proj", "k_proj") else gamma[side]
        assert torch.allclose(module.weight, before.weight * factor)
        assert torch.equal(module.bias, before.bias)


def test_ds_init():
    stock = matrices(build("default"))
    for (_, l, _, _, module), (*_, before) in zip(matrices(build("ds_init")), stock, strict=True):
        assert module.weight.std().item() == pytest.approx(xavier(module, l**-0.5), rel=0.05)
        assert is_uniform(module.weight)
        assert torch.equal(module.bias, before.bias)


def test_scaled():
    sublayers = {"encoder": 2 * N, "decoder": 3 * M}
    stock = matrices(build("default"))
    for (side, _, _, name, module), (*_, before) in zip(matrices(build("scaled")), stock, strict=True):
        factor = sublayers[side] ** -0.5 if name in ("out_proj", "fc2") else 1
        assert torch.allclose(module.weight, before.weight * factor)
        assert torch.equal(module.bias, before.bias)


def test_scaled_in_a_language_model():
    model, stock = (build_language_model(connection_init=init) for init in ("scaled", "default"))
    weight, before = (m.decoder.layers[2].fc2.weight for m in (model, stock))
    assert torch.allclose(weight, before * (2 * 3) ** -0.5)


@pytest.mark.parametrize("connection", ["ln_scaling", "hybrid"])
def test_scaled_warns_where_it_is_known_to_be_worse(connection, caplog):
    build_connection(connection, connection_init="scaled")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (connection == "ln_scaling")
    assert all("20.79 with it, 20.35 without" in warning and "\n" not in warning for warning in warnings)


def test_lipschitz_layers():
    for *_, module in matrices(build("lipschitz", decoder_ffn_embed_dim=320)):
        bound = module.in_features**-0.5
        assert 0.99 * bound < module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not module.bias.any()


@pytest.mark.parametrize("shared", [False, True])
def test_lipschitz_embeddings(shared):
    model = build("lipschitz", share_all_embeddings=shared, share_decoder_input_output_embed=shared)
    for side in (model.encoder, model.decoder):
        table = side.embed_tokens.weight
        bound = math.sqrt(2 / sum(table.shape))  # of xavier_uniform, sqrt(6 / (rows + columns)), over sqrt(3)
        assert 0.99 * bound < table.abs().max() <= bound
        assert table.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not table[PAD].any()


def test_lipschitz_leaves_norms_and_an_adaptive_inputs_projections_alone():
    model, stock = (build_language_model(connection_init=init).state_dict() for init in ("lipschitz", "default"))
    tables = [name for name in stock if "embed_tokens" in name and name.endswith(".0.weight")]
    others = [name for name in stock if "layer_norm" in name or ("embed_tokens" in name and name.endswith(".1.weight"))]
    assert len(tables) == 3 and len(others) > 6
    assert not any(torch.equal(model[name], stock[name]) for name in tables)
    assert all(torch.equal(model[name], stock[name]) for name in others)


def test_tfixup_layers():
    factor = {"encoder": 0.67 * N**-0.25, "decoder": (9 * M) ** -0.25}
    stock = matrices(build("default"))
    for (side, _, _, name, module), (*_, before) in zip(matrices(build("tfixup")), stock, strict=True):
        if name in ("fc1", "fc2"):
            assert module.weight.std().item() == pytest.approx(xavier(module, factor[side]), rel=0.05)
            assert is_uniform(module.weight)
            assert not module.bias.any()
        else:
            scale = {"v_proj": factor[side] * math.sqrt(2), "out_proj": factor[side]}.get(name, 1)
            assert torch.allclose(module.weight, before.weight * scale)
            assert torch.equal(module.bias, before.bias)


@pytest.mark.parametrize("shared", [False, True])
def test_tfixup_embeddings(shared):
    options = {"share_all_embeddings": shared, "share_decoder_input_output_embed": shared}
    model, stock = build("tfixup", **options), build("default", **options)
    source, target = (9 * N) ** -0.25, (9 * (N if shared else M)) ** -0.25
    assert (model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight) == shared
    assert torch.allclose(model.encoder.embed_tokens.weight, stock.encoder.embed_tokens.weight * source)
    assert torch.allclose(model.decoder.embed_tokens.weight, stock.decoder.embed_tokens.weight * target)
    assert not model.encoder.embed_tokens.weight[PAD].any()


def test_tfixup_embeddings_of_a_language_model():
    model, stock = (build_language_model(connection_init=init, connection="tfixup") for init in ("auto", "default"))
    tables = [name for name in stock.state_dict() if "embed_tokens" in name and name.endswith(".0.weight")]
    assert len(tables) == 3
    for name in tables:
        assert torch.allclose(model.state_dict()[name], stock.state_dict()[name] * (9 * 3) ** -0.25)


@pytest.mark.parametrize("init", ["deepnet", "sub_ln", "ds_init", "rescale", "scaled"])
def test_embeddings_and_norms_are_left_alone(init):
    model, stock = (build(name).state_dict() for name in (init, "default"))
    others = [name for name in stock if "embed_tokens" in name or "layer_norm" in name or "output" in name]
    assert len(others) > 10
    assert all(torch.equal(model[name], stock[name]) for name in others)


@pytest.mark.parametrize("connection", ["post", "b2t", "deepnet", "pre"])
def test_admin_needs_an_omega(connection):
    with pytest.raises(UserError, match=f"--connection-init admin sets omega, and connection '{connection}' has none"):
        build_connection(connection, connection_init="admin")


def test_an_initialisation_is_independent_of_the_connection():
    weights = [
        build_connection(name, connection_init="deepnet").encoder.layers[0].fc1.weight for name in ("post", "pre")
    ]
    assert torch.equal(*weights)
