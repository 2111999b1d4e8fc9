"""LayerDrop's pruning: layers that are kept by number, in decoding and when a checkpoint is continued."""

from argparse import Namespace

import pytest
import torch
from builders import ALL_CONNECTIONS, build, build_language_model

from b2t_fairseq.checkpoints.signature import after_pruning, layers_to_keep
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.connections import CONNECTIONS

TOKENS = torch.tensor([[4, 5, 6, 7, 2], [8, 9, 2, 1, 1]])
LENGTHS, SHIFTED = torch.tensor([5, 3]), torch.tensor([[2, 4, 5], [2, 8, 1]])
PRUNABLE = [name for name in ALL_CONNECTIONS if CONNECTIONS[name].can_be_pruned]
KEPT = {"encoder_layers_to_keep": "0,2", "decoder_layers_to_keep": "1,3"}


def outputs(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS, LENGTHS, SHIFTED)[0]


@pytest.mark.parametrize("connection", PRUNABLE)
def test_a_pruned_model_is_one_of_the_kept_layers(connection):
    whole = build(f"transformer_{connection}_6_6", encoder_layers=4, decoder_layers=4)
    noted = {"connection_signature": whole.signature, **KEPT}
    pruned = build(f"transformer_{connection}_6_6", seed=2, encoder_layers=4, decoder_layers=4, **noted)
    args = Namespace(arch=f"transformer_{connection}_6_6", **KEPT)
    pruned.load_state_dict(whole.state_dict(), strict=True, model_cfg=args)
    by_hand = build(f"transformer_{connection}_6_6", seed=3, encoder_layers=2, decoder_layers=2)
    states = whole.state_dict()
    for side, kept in (("encoder", (0, 2)), ("decoder", (1, 3))):
        for new, old in enumerate(kept):
            layer = {k: v for k, v in states.items() if k.startswith(f"{side}.layers.{old}.")}
            getattr(by_hand, side).layers[new].load_state_dict({k.split(".", 3)[3]: v for k, v in layer.items()})
    rest = {k: v for k, v in states.items() if ".layers." not in k}
    assert not by_hand.load_state_dict({**by_hand.state_dict(), **rest}).missing_keys
    assert "layers:2-2" in pruned.signature
    assert torch.equal(outputs(pruned), outputs(by_hand))


def test_one_side_is_pruned_and_the_other_stays():
    whole = build("transformer_b2t_6_6", encoder_layers=3, decoder_layers=3)
    options = {"encoder_layers": 3, "decoder_layers": 3, "decoder_layers_to_keep": "0"}
    pruned = build("transformer_b2t_6_6", seed=2, connection_signature=whole.signature, **options)
    args = Namespace(arch="transformer_b2t_6_6", encoder_layers_to_keep="0,1,2", decoder_layers_to_keep="0")
    pruned.load_state_dict(whole.state_dict(), strict=True, model_cfg=args)
    assert "layers:3-1" in pruned.signature
    assert torch.equal(pruned.encoder.layers[2].fc1.weight, whole.encoder.layers[2].fc1.weight)


def test_a_language_model_is_pruned():
    whole = build_language_model()
    pruned = build_language_model(seed=2, decoder_layers_to_keep="0,2", connection_signature=whole.signature)
    assert "layers:2|" in pruned.signature


@pytest.mark.parametrize("connection", [name for name in ALL_CONNECTIONS if name not in PRUNABLE])
def test_numbers_that_depend_on_the_depth_are_not_pruned(connection):
    with pytest.raises(UserError, match=f"connection '{connection}' has numbers that depend on the depth"):
        build(f"transformer_{connection}_6_6", encoder_layers=4, decoder_layers=4, **KEPT)


def test_those_that_cannot_be_pruned_are_the_ones_whose_equations_say_so():
    assert set(ALL_CONNECTIONS) - set(PRUNABLE) == {
        *("deepnet", "ln_scaling", "mix", "admin", "dlcl_pre", "dlcl_post", "hybrid_star"),
        *("keel", "span", "siamese", "complete_p", "hyper", "mhc", "attn_res"),
    }


@pytest.mark.parametrize(
    "kept, mistake",
    [
        ({"decoder_layers_to_keep": "0,x"}, "--decoder-layers-to-keep 0,x: write layer numbers"),
        ({"decoder_layers_to_keep": "0,4"}, "names layer 4; the checkpoint has layers 0 to 3"),
    ],
)
def test_mistakes_are_one_line(kept, mistake):
    whole = build("transformer_b2t_6_6", encoder_layers=4, decoder_layers=4)
    options = {"encoder_layers": 4, "decoder_layers": 4, "connection_signature": whole.signature}
    with pytest.raises(UserError, match=mistake):
        build("transformer_b2t_6_6", **options, **kept)


def test_the_signature_after_pruning():
    args = Namespace(encoder_layers_to_keep=None, decoder_layers_to_keep="3,0,0")
    assert layers_to_keep(args) == {"decoder": [0, 3]}
    noted = "connection:b2t|init:default|layers:4-4|plugin:0.1.0|fairseq:0.12.3"
    assert after_pruning(noted, layers_to_keep(args)) == noted.replace("4-4", "4-2")
    assert after_pruning(noted, {}) == noted and after_pruning(None, {"decoder": [0]}) is None
    stock = "connection:post|layers:4|stock fairseq"
    assert after_pruning(stock, {"decoder": [1]}) == "connection:post|layers:1|stock fairseq"
