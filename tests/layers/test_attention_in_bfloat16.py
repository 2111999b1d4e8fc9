"""Attention under autocast on a CPU: joint projections and the softmax in one pass, beside float32."""

import pytest
import torch
from builders import randn
from torch import nn

from b2t_fairseq import native
from b2t_fairseq.layers import attention
from b2t_fairseq.layers.attention import MultiheadAttention
from b2t_fairseq.layers.masks import additive_mask

WIDTH, HEADS = 32, 4
NORMS = [(), ("q", "k", "v"), ("inner",)]


@pytest.fixture
def calls(monkeypatch):
    """The arguments of all joint products and softmaxes."""
    calls = {"joint_product": [], "masked_softmax": []}
    for module, name in ((attention, "joint_product"), (native, "masked_softmax")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, to=calls[name]: to.append(a) or real(*a))
    return calls


def attended(module, x, memory, autocast: bool, **options):
    """Output and gradients of x and all parameters; the dropout is that of one seed."""
    torch.manual_seed(1)
    module.zero_grad()
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y, _ = module(x, memory, **options)
    (y.float() * randn(*y.shape, seed=7)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]


def assert_near(found, expected):
    """Within what products of numbers of eight bits give; the gradient of the keys' bias is 0 but for rounding."""
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 0.04 * b.abs().max() + 0.03


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("kind", ["self", "causal", "cross"])
def test_output_and_gradients_are_those_of_float32(kind, norms, kernels, calls):
    module = MultiheadAttention(WIDTH, HEADS, dropout=0.2, inner_norms=norms).train()
    x, memory = randn(6, 3, WIDTH), randn(9, 3, WIDTH, seed=2) if kind == "cross" else None
    padding = torch.arange(9 if kind == "cross" else 6) >= torch.tensor([[5], [9], [3]])
    options = {"causal": True} if kind == "causal" else {"mask": additive_mask(padding, x)}
    expected = attended(module, x, memory, autocast=False, **options)
    assert not any(calls.values())  # in float32 nothing changes
    assert_near(attended(module, x, memory, autocast=True, **options), expected)
    (joint,) = calls["joint_product"]
    assert len(joint[1]) == (2 if kind == "cross" else 3) and len(calls["masked_softmax"]) == kernels


def test_weights_are_torchs_to_return(calls):
    module, x = MultiheadAttention(WIDTH, HEADS).train(), randn(6, 3, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, weights = module(x, need_weights=True)
    assert torch.allclose(weights.sum(-1), torch.ones(HEADS, 3, 6), atol=0.01) and not calls["masked_softmax"]


@pytest.mark.parametrize("watcher", ["hook", "wrapper", "no bias"])
def test_projections_that_do_more_than_multiply_are_called(watcher, calls):
    module, x, seen = MultiheadAttention(WIDTH, HEADS).train(), randn(6, 3, WIDTH), []
    if watcher == "hook":
        module.k_proj.register_forward_hook(lambda *call: seen.append(call))
    elif watcher == "wrapper":
        own = module.k_proj
        module.k_proj = nn.Sequential(own)
        own.register_forward_hook(lambda *call: seen.append(call))
    else:
        module.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        module.k_proj.register_forward_hook(lambda *call: seen.append(call))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(x)
    assert len(seen) == 1 and not calls["joint_product"]


def test_a_gradient_is_one_product_of_all_projections(calls):
    """Its three parts are added up in float32, and not rounded before."""
    module, x = MultiheadAttention(WIDTH, HEADS).train(), randn(6, 3, WIDTH, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = module.projected(x, "qkv")
    weights = [randn(*part.shape, seed=seed, dtype=torch.bfloat16) for seed, part in enumerate(parts)]
    torch.autograd.backward(parts, weights)
    projections = (module.q_proj, module.k_proj, module.v_proj)
    rounded = [p.weight.detach().bfloat16().double() for p in projections]
    flat = [w.double().permute(2, 0, 1, 3).reshape(6, 3, WIDTH) for w in weights]
    expected = sum(w @ r for w, r in zip(flat, rounded, strict=True))
    assert (x.grad - expected).abs().max() <= 2**-8 * expected.abs().max()
    for projection, gradient in zip(projections, flat, strict=True):
        exact = gradient.flatten(0, 1).mT @ x.detach().bfloat16().double().flatten(0, 1)
        assert (projection.weight.grad - exact).abs().max() <= 2**-8 * exact.abs().max()
        assert torch.allclose(projection.bias.grad.double(), gradient.sum((0, 1)), rtol=0.01, atol=0.05)
