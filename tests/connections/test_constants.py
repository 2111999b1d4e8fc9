"""The constants of the methods, as numbers, and what a connection asks of a stack."""

import pytest
import torch
from builders import ALL_CONNECTIONS, build_connection

from b2t_fairseq import UserError
from b2t_fairseq.connections import get_connection, parse_options
from b2t_fairseq.connections.deepnet import deepnet_constants
from b2t_fairseq.layers import StackConfig

FINAL_NORM = {
    *("pre", "dlcl_pre", "resi_dual", "peri", "mix", "ln_scaling", "sub_ln", "hybrid", "hybrid_star"),
    *("keel", "siamese", "res_post", "complete_p", "hyper", "mhc", "attn_res"),
}
OWN_INIT = {
    **{name: name for name in ("deepnet", "tfixup", "admin", "sub_ln")},
    **dict.fromkeys(("hybrid", "hybrid_star", "span"), "scaled"),
}


def sizes(side: str, depth: int, other: int | None, width: int = 512) -> StackConfig:
    kinds = ("SA", "CA", "FF") if side == "decoder" and other else ("SA", "FF")
    return StackConfig(side, depth, width, 2048, 8, kinds, other_depth=other)


def connection(name: str, config: StackConfig, options: str = ""):
    cls = get_connection(name)
    return cls(config, **parse_options(cls, options))


@pytest.mark.parametrize(
    ("side", "depth", "other", "alpha", "beta"),
    [
        ("encoder", 6, 6, 1.4179, 0.4970),
        ("decoder", 6, 6, 2.0598, 0.3433),
        ("encoder", 18, 18, 1.9987, 0.3526),
        ("decoder", 18, 18, 2.7108, 0.2608),
        ("encoder", 60, 12, 2.6331, 0.2676),
        ("decoder", 12, 60, 2.4495, 0.2887),
        ("decoder", 16, None, 32**0.25, 128**-0.25),
    ],
)
def test_deepnet(side, depth, other, alpha, beta):
    assert deepnet_constants(sizes(side, depth, other)) == pytest.approx((alpha, beta), abs=5e-5)
    assert connection("deepnet", sizes(side, depth, other)).alpha == pytest.approx(alpha, abs=5e-5)


@pytest.mark.parametrize(("depth", "alpha"), [(6, 0.5), (18, 0.64820), (100, 0.50119)])
def test_b2t_without_norms(depth, alpha):
    own = connection("b2t_no_ln", sizes("encoder", depth, 6))
    assert own.alpha == pytest.approx(alpha, abs=5e-6)
    assert own.beta == pytest.approx(0.28717, abs=5e-6)


@pytest.mark.parametrize(
    ("depth", "a", "expected"), [(6, 0.25, 1), (18, 0.25, 4), (3, 0.25, 0), (100, 0.29, 29), (7, 1.0, 7), (7, 0.0, 0)]
)
def test_mix_rounds_down_exactly(depth, a, expected):
    assert connection("mix", sizes("encoder", depth, 6), f"a={a}").post_layers == expected


def test_mix_refuses_more_than_all_layers():
    with pytest.raises(UserError, match="a=1.5 must be between 0 and 1"):
        connection("mix", sizes("encoder", 6, 6), "a=1.5")


@pytest.mark.parametrize("name", ["dlcl_pre", "dlcl_post"])
def test_dlcl_starts_as_the_mean(name):
    weight = connection(name, sizes("encoder", 3, 2)).weight
    expected = [[1, 0, 0, 0], [1 / 2, 1 / 2, 0, 0], [1 / 3] * 3 + [0], [1 / 4] * 4]
    assert torch.equal(weight, torch.tensor(expected))


@pytest.mark.parametrize("name", ["dlcl_pre", "dlcl_post"])
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_dlcl_refuses_layerdrop(name, side):
    with pytest.raises(UserError, match=f"--{side}-layerdrop 0.1: connection '{name}' needs every layer"):
        build_connection(name, **{f"{side}_layerdrop": 0.1})


def test_admin_starts_as_post():
    omega = connection("admin", sizes("decoder", 2, 3)).omega
    assert len(omega) == 6
    assert all(torch.equal(vector, torch.ones(512)) and vector.requires_grad for vector in omega)


@pytest.mark.parametrize("name", ALL_CONNECTIONS)
def test_final_norm(name):
    """It belongs to the connection: there or not there, in both stacks, with its epsilon."""
    model = build_connection(name)
    for side in (model.encoder, model.decoder):
        assert (side.layer_norm is not None) == (name in FINAL_NORM)
        if side.layer_norm is not None:
            assert side.layer_norm.eps == (1e-7 if name == "resi_dual" else 1e-5)
        assert all(norm.eps == 1e-5 for norm in side.layers.modules() if isinstance(norm, torch.nn.LayerNorm))


@pytest.mark.parametrize("name", ALL_CONNECTIONS)
def test_auto_is_the_methods_own_initialisation(name):
    expected = OWN_INIT.get(name, "default")
    assert get_connection(name).default_init == expected
    assert build_connection(name).encoder.layers.init_name == expected


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("tfixup", 0),
        ("b2t_no_ln", 0),
        ("post", 5),
        ("peri", 10),
        ("sub_ln", 5 + 4),  # inside both self-attentions and both feed-forwards
        ("hybrid", 2 + 3 * 3),
        ("hybrid_star", 2 + 2 + 3 * 3),
        ("dlcl_pre", 5 + 2),
        ("keel", 5),  # one layer is the first, without LN_out
        ("span", 5 + 2),
        ("siamese", 3 * 5 + 2 * 2),
        ("res_post", 5),
        ("complete_p", 5),
    ],
)
def test_only_norms_that_are_used_exist(name, norms):
    model = build_connection(name, encoder_layers=1, decoder_layers=1)
    found = [m for side in (model.encoder, model.decoder) for m in side.layers.modules()]
    assert sum(isinstance(module, torch.nn.LayerNorm) for module in found) == norms


def test_settings_answer_to_their_former_name():
    connection = build_connection("mix", connection_options="a=0.5").encoder.layers.connection
    assert connection.settings == connection.option == {"a": 0.5}
