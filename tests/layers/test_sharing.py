"""Shared layers: which layer uses which parameters, against a model whose layers are copies."""

import copy

import pytest
import torch
from builders import ALL_CONNECTIONS, batch, build, build_connection, build_language_model, gradients, randomise

from b2t_fairseq import UserError
from b2t_fairseq.analysis.connections_table import measure, stack_configs, table
from b2t_fairseq.connections import CONNECTIONS, get_connection
from b2t_fairseq.init import INITIALISATIONS
from b2t_fairseq.layers.sharing import SharingError, parameters_of

SHARED = {"share_layers": "cycle_rev", "unique_layers": 2, "encoder_layers": 4, "decoder_layers": 4}


def can_share(connection):
    try:
        build_connection(connection, **SHARED)
    except SharingError:
        return False
    return True


CAN = [name for name in ALL_CONNECTIONS if can_share(name)]


@pytest.mark.parametrize(
    "form, expected",
    [("sequence", [1, 1, 2, 2, 3, 3]), ("cycle", [1, 2, 3, 1, 2, 3]), ("cycle_rev", [1, 2, 3, 3, 2, 1])],
)
def test_six_layers_of_three(form, expected):
    assert [place + 1 for place in parameters_of(6, form, 3)] == expected


def test_nine_layers_of_three():
    assert [place + 1 for place in parameters_of(9, "cycle_rev", 3)] == [1, 2, 3, 1, 2, 3, 3, 2, 1]
    assert parameters_of(3, None, None) == [0, 1, 2]


@pytest.mark.parametrize("connection", CAN)
def test_a_shared_layer_equals_its_copies(connection):
    """Outputs and gradients, and step-by-step decoding, whose caches must not be shared."""
    shared = randomise(build_connection(connection, **SHARED)).eval()
    copies = build_connection(connection, encoder_layers=4, decoder_layers=4).eval()
    weights = shared.state_dict()
    for name in copies.state_dict():
        side, _, rest = name.partition(".layers.")
        number, _, end = rest.partition(".")
        place = (0, 1, 1, 0)[int(number)] if number.isdecimal() else number
        weights[name] = copy.deepcopy(shared.state_dict()[f"{side}.layers.{place}.{end}" if rest else name])
    copies.load_state_dict(weights)
    source, target = batch()
    one, other = (model(source, None, target)[0] for model in (shared, copies))
    assert torch.allclose(one, other, atol=1e-6)
    one.square().mean().backward(), other.square().mean().backward()
    for name in ("fc1", "fc2"):
        for side in ("encoder", "decoder"):
            stacks = [getattr(model, side).layers for model in (shared, copies)]
            own = [getattr(layer, name).weight.grad for layer in stacks[1]]
            assert torch.allclose(getattr(stacks[0][0], name).weight.grad, own[0] + own[3], atol=1e-5, rtol=1e-4)
    encoded, state = shared.encoder(source), {}
    steps = [
        shared.decoder(target[:, : i + 1], encoder_out=encoded, incremental_state=state)[0]
        for i in range(target.size(1))
    ]
    assert torch.allclose(torch.cat(steps, 1)[0], one[0], atol=1e-4)


def test_the_checkpoint_holds_each_parameter_once():
    model = build_connection("b2t", **SHARED)
    assert {name.split(".")[2] for name in model.state_dict() if name.startswith("encoder.layers")} == {"0", "1"}
    assert "b2t(share_layers=cycle_rev,unique_layers=2)|init:default|layers:4-4|" in model.signature
    other = build_connection("b2t", seed=2, **SHARED)
    other.load_state_dict(model.state_dict())
    assert len(model.encoder.layers) == 4 and model.encoder.layers[3] is model.encoder.layers[0]


@pytest.mark.parametrize("init", sorted(set(INITIALISATIONS) - {"admin", "sub_ln"}))
def test_an_initialisation_changes_a_shared_layer_once(init):
    shared = build("transformer_post_6_6", connection_init=init, **SHARED)
    plain = build("transformer_post_6_6", connection_init=init, encoder_layers=4, decoder_layers=4)
    for side in ("encoder", "decoder"):
        stds = [getattr(model, side).layers[1].fc1.weight.std().item() for model in (shared, plain)]
        assert stds[0] == pytest.approx(stds[1], rel=0.1)


def test_recomputed_layers():
    source, target = batch()
    found = []
    for recomputes in (False, True):
        model = build_connection("pre", checkpoint_activations=recomputes, **SHARED).train()
        found.append(gradients(model, source, target))
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-6), name


def test_only_the_deeper_stack_shares():
    options = {"share_layers": "cycle", "unique_layers": 2}
    model = build_connection("b2t", encoder_layers=6, decoder_layers=2, **options)
    assert model.encoder.layers.places == (0, 1, 0, 1, 0, 1) and model.decoder.layers.places == (0, 1)
    with pytest.raises(UserError, match="nothing is shared"):
        build_connection("b2t", encoder_layers=2, decoder_layers=2, **options)


def test_the_language_model_has_it():
    model = build_language_model(share_layers="sequence", unique_layers=1)
    assert "(share_layers=sequence,unique_layers=1)" in model.signature


@pytest.mark.parametrize("connection", sorted(set(ALL_CONNECTIONS) - set(CAN)))
def test_refused(connection):
    cls = get_connection(connection)
    why = "parameters of its own for each layer" if cls.has_parameters_per_layer else "have different norms"
    with pytest.raises(UserError, match=f"connection '{connection}'.*{why}"):
        build_connection(connection, **SHARED)


def test_who_can():
    assert {"post", "pre", "b2t", "deepnet", "sub_ln", "peri", "resi_dual"} <= set(CAN)
    assert not {"dlcl_pre", "dlcl_post", "admin", "hybrid_star"} & set(CAN)
    with pytest.raises(UserError, match=r"'pre \(gpas=true\)', which has parameters of its own.*other options of it"):
        build_connection("pre", connection_options="gpas=true", **SHARED)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"share_layers": "cycle"}, "go together"),
        ({"unique_layers": 3}, "go together"),
        ({"share_layers": "cycle", "unique_layers": -2}, "--unique-layers -2"),
        ({"share_layers": "cycle", "unique_layers": 0}, "--unique-layers P, from 1 on, go together"),
        ({"share_layers": "cycle", "unique_layers": 2}, "3 layers cannot be made of them .the depth is not a multiple"),
        ({"share_layers": "cycle", "unique_layers": 3}, "a stack of 2 layers cannot be made of them"),
        ({"share_layers": "random", "unique_layers": 1}, "random is unknown: choose one of sequence, cycle, cycle_rev"),
        ({**SHARED, "decoder_layers_to_keep": "0,1"}, "layers-to-keep"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


def test_the_table_shows_what_is_saved():
    rows = {row.name: row for row in table([6, 6], 64, "cycle", 3)}
    assert set(rows) == set(CAN)
    configs = stack_configs([6, 6], 64)
    full, half = (measure(CONNECTIONS["post"], configs, how)["parameters"] for how in ((None, None), ("cycle", 3)))
    assert rows["post"].parameters == half - full and half * 2 == full
