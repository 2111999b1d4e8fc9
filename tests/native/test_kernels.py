"""The compiled attention of decoding against torch's operations."""

import pytest
import torch
from builders import randn
from torch.nn import functional as F

from b2t_fairseq import native

pytestmark = pytest.mark.skipif(native.kernels() is None, reason="no C++ compiler")
SENTENCES, HEADS = 3, 2


def attention(q, k, v):
    """q (R, H, d), k and v (R, H, T, d) -> (1, R, H * d), in double precision."""
    scores = torch.einsum("rhd,rhtd->rht", q.double(), k.double()) / q.size(-1) ** 0.5
    return torch.einsum("rht,rhtd->rhd", scores.softmax(-1), v.double()).flatten(1).unsqueeze(0)


def tolerance(dtype):
    return 1e-5 if dtype == torch.float32 else 2e-2


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("width", native.HEAD_WIDTHS)
@pytest.mark.parametrize("beam", [1, 3, 4, 5])
@pytest.mark.parametrize("positions", [1, 16, 37])
def test_attention_to_the_source(dtype, width, beam, positions):
    rows = SENTENCES * beam
    q = randn(1, rows, HEADS * width, dtype=dtype)
    k, v = (randn(SENTENCES, HEADS, positions, width, dtype=dtype, seed=seed) for seed in (2, 3))
    hidden = torch.arange(positions) < torch.tensor([[0], [positions // 2], [0]])  # padded on the left
    for mask in (None, hidden):
        found = native.attend_to_source(q, native.padded_keys(k), v, mask)
        for s in range(SENTENCES):
            seen = slice(None) if mask is None else ~mask[s]
            own = slice(s * beam, (s + 1) * beam)
            several = [x[s, :, seen].expand(beam, -1, -1, -1) for x in (k, v)]
            expected = attention(q[0, own].view(beam, HEADS, width), *several)
            assert (found[:, own] - expected).abs().max() <= tolerance(dtype)


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("width", native.HEAD_WIDTHS)
@pytest.mark.parametrize("length", [1, 5, 16, 33])
def test_attention_to_ancestors(dtype, width, length):
    beam, capacity, new = 4, 200, 140
    rows = SENTENCES * beam
    qkv = randn(1, rows, 3 * HEADS * width, dtype=dtype)
    keys, values = (randn(SENTENCES, HEADS, capacity, width, dtype=dtype, seed=seed) for seed in (2, 3))
    index = torch.randint(0, new, (rows, length), generator=torch.Generator().manual_seed(4))
    index[:, -1] = new + torch.arange(rows) % beam  # each sees its own newest key
    before = keys.clone()
    found = native.attend_to_ancestors(qkv, keys, values, new, length, index)
    q, k, v = qkv.view(rows, 3, HEADS, width).unbind(1)
    for written, x in ((keys, k), (values, v)):
        assert torch.equal(written[:, :, new : new + beam], x.reshape(SENTENCES, beam, HEADS, width).transpose(1, 2))
    assert torch.equal(keys[:, :, :new], before[:, :, :new])
    assert torch.equal(keys[:, :, new + beam :], before[:, :, new + beam :])
    sentence = torch.arange(rows).unsqueeze(1) // beam
    expected = attention(q, *(x[sentence, :, index].transpose(1, 2) for x in (keys, values)))
    assert (found - expected).abs().max() <= tolerance(dtype)


def test_without_an_index_the_first_positions_are_attended_to():
    width, length = 16, 7
    qkv = randn(1, SENTENCES, 3 * HEADS * width)
    keys, values = (randn(SENTENCES, HEADS, 32, width, seed=seed) for seed in (2, 3))
    found = native.attend_to_ancestors(qkv, keys, values, length - 1, length, None)
    q = qkv.view(SENTENCES, 3, HEADS, width)[:, 0]
    assert (found - attention(q, keys[:, :, :length], values[:, :, :length])).abs().max() <= 1e-5


@pytest.mark.parametrize("largest", [1e-6, 1.0, 80.0, 1e4])
def test_softmax_of_any_size_of_scores(largest):
    """Also where the exponentials would overflow, or vanish."""
    q, k, v = largest * randn(1, 1, 16), randn(1, 1, 40, 16, seed=2), randn(1, 1, 40, 16, seed=3)
    found = native.attend_to_source(q, native.padded_keys(k), v, None)
    expected = F.scaled_dot_product_attention(q.unsqueeze(0).double(), k.double(), v.double())
    assert torch.isfinite(found).all() and (found - expected.view(1, 1, 16)).abs().max() <= 1e-5 * max(largest, 1)


def test_what_has_no_kernel():
    assert not native.suits(torch.zeros(2, dtype=torch.float64), torch.float32)
    assert not native.suits(torch.zeros(2, device="meta"), torch.float32)
    assert native.suits(torch.zeros(2), torch.float32)
