"""The compiled kernels of training against the same in torch's operations, most in double precision."""

import pytest
import torch
from builders import randn

from b2t_fairseq import native
from b2t_fairseq.layers.dropout import Dropout, drawn, mask_of
from b2t_fairseq.layers.softmax import MaskedSoftmax

pytestmark = pytest.mark.skipif(native.kernels() is None, reason="no C++ compiler")
BATCH, HEADS, QUERIES = 3, 2, 5


@pytest.mark.parametrize("widens", [False, True])
@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("shape", [(3,), (501, 99), (40, 30, 64)])
def test_dropout_is_that_of_torchs_operations_to_the_bit(shape, dtype, widens, monkeypatch):
    found, calls = [], []
    monkeypatch.setattr(native, "dropout", lambda *a, real=native.dropout: calls.append(a) or real(*a))
    for kernels in (native.kernels, lambda: None):
        monkeypatch.setattr(native, "kernels", kernels)
        torch.manual_seed(1)
        x = randn(*shape, dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=widens):
            y = Dropout(0.3, widens=widens).train()(x)
        assert y.dtype == (torch.float32 if widens else dtype)
        (y * randn(*shape, seed=2)).sum().backward()
        found.append((y, x.grad))
    assert all(map(torch.equal, *found)) and len(calls) == 2  # forwards and backwards, once compiled


def test_dropouts_gradient_has_a_gradient():
    x = randn(40, requires_grad=True)
    y = Dropout(0.5).train()(x)
    (gradient,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert torch.allclose(second, 6 * y.detach() * (y != 0) * 4)


def test_dropout_of_what_is_not_contiguous():
    torch.manual_seed(1)
    x = randn(50, 40).t()
    y = Dropout(0.5).train()(x)
    assert torch.equal(y[y != 0], (2 * x)[y != 0]) and 0.3 < (y == 0).float().mean() < 0.7


def exact_softmax(scores, scale, mask, kept):
    """In double precision, with a graph."""
    p = (scores.double() * scale + (0 if mask is None else mask.double())).softmax(-1)
    return p if kept is None else p * mask_of(kept, p)


def masks(keys: int) -> dict:
    """Of all shapes that attention has, and one whose last dimension does not lie number by number."""
    hidden = torch.rand(BATCH, 1, QUERIES, keys, generator=torch.Generator().manual_seed(5)) < 0.4
    hidden[0] = True  # rows that are hidden as a whole stay finite
    hidden[1:, ..., 0] = False
    mask = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min / 2)
    padding, causal = mask[:, :, :1], mask[1:2]
    turned = mask.transpose(0, 3).contiguous().transpose(0, 3)
    return {"none": None, "padding": padding, "causal": causal, "both": mask, "turned": turned}


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["none", "padding", "causal", "both", "turned"])
@pytest.mark.parametrize("keys", [1, 7, 16, 37, 128])
@pytest.mark.parametrize("dtype", native.DTYPES)
def test_softmax_with_mask_and_dropout(dtype, keys, kind, p):
    scores = randn(BATCH, HEADS, QUERIES, keys, dtype=dtype, requires_grad=True)
    mask, scale = masks(keys)[kind], 0.3
    torch.manual_seed(1)
    kept = drawn(scores.numel(), p) if p else None
    expected = exact_softmax(scores, scale, mask, kept)
    weights = randn(*scores.shape, dtype=dtype, seed=2)
    (of_scores,) = torch.autograd.grad((expected * weights.double()).sum(), scores)
    torch.manual_seed(1)
    found = MaskedSoftmax.apply(scores, mask, scale, p)
    (found * weights).sum().backward()
    assert found.dtype == dtype
    nearest = 1e-6 if dtype == torch.float32 else 2**-8
    assert (found.double() - expected).abs().max() <= nearest * max(1, expected.max())
    assert (scores.grad.double() - of_scores.double()).abs().max() <= nearest * max(1, of_scores.abs().max())


def test_softmax_of_views_and_of_any_size_of_scores():
    scores = (torch.tensor([1e-6, 1.0, 80.0, 1e4]).view(4, 1, 1, 1) * randn(4, 2, 6, 40)).transpose(2, 3)
    found, norms = native.masked_softmax(scores.contiguous(), 1.0, None, None)
    assert torch.allclose(found.double(), scores.double().softmax(-1), atol=1e-6)
    assert torch.equal(norms[..., 0], scores.amax(-1))
    assert torch.equal(MaskedSoftmax.apply(scores, None, 1.0, 0.0), found)


def test_nan_stays_nan():
    scores = randn(1, 1, 2, 9)
    scores[0, 0, 1, 4] = float("nan")
    found, _ = native.masked_softmax(scores, 1.0, None, None)
    assert found[0, 0, 0].isfinite().all() and found[0, 0, 1].isnan().all()
