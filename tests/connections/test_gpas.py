"""GPAS: its numbers, its gradient, and where it is not defined. Its formula in each method: `test_formulas.py`."""

import pytest
import torch
from builders import ALL_CONNECTIONS, batch, build_connection

from b2t_fairseq import UserError
from b2t_fairseq.connections import get_connection, parse_options
from b2t_fairseq.layers import StackConfig

SIX = {"pre", "post", "deepnet", "peri", "ln_scaling", "b2t"}


def gated(g: float):
    cls = get_connection("pre")
    own = cls(StackConfig("decoder", 2, 8, 16, 2), **parse_options(cls, "gpas=true"))
    with torch.no_grad():
        own.gate.copy_(torch.tensor([0.3, g]))
    return own


@pytest.mark.parametrize("g, factor", [(1, 0.2689), (-1, 1.2689), (0.5, 0.6888), (0, 1)])
def test_the_scale_and_the_gradient(g, factor):
    x = torch.randn(3, 2, 8, dtype=torch.float64, requires_grad=True)
    y = gated(g).scaled(x, 2)
    assert torch.allclose(y, factor * x, rtol=5e-4)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


@pytest.mark.parametrize("connection", sorted(SIX))
def test_closed_gates_change_nothing(connection):
    source, target = batch()
    plain, with_gates = (
        build_connection(connection, connection_options=options).eval()(source, None, target)[0]
        for options in ("", "gpas=true")
    )
    assert torch.equal(plain, with_gates)


def test_one_gate_per_layer_is_part_of_the_checkpoint():
    model = build_connection("b2t", connection_options="gpas=true")
    assert model.state_dict()["encoder.layers.connection.gate"].shape == (3,)
    assert "b2t(gpas=true)|" in model.signature
    assert not [name for name in build_connection("b2t").state_dict() if "gate" in name]


@pytest.mark.parametrize("connection", sorted(set(ALL_CONNECTIONS) - SIX))
def test_elsewhere_it_is_refused(connection):
    with pytest.raises(UserError, match=f"connection '{connection}' has no option 'gpas'"):
        build_connection(connection, connection_options="gpas=true")


def test_a_model_with_gates_is_not_pruned():
    with pytest.raises(UserError, match=r"layers-to-keep: connection 'pre \(gpas=true\)'"):
        build_connection("pre", connection_options="gpas=true", decoder_layers_to_keep="0")
