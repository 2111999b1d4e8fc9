"""The split products against double precision: emulated, and by AMX where the processor has it."""

import pytest
import torch
from builders import randn
from torch.nn import functional as F

from b2t_fairseq import native


@pytest.fixture(params=["emulated", "processor"], autouse=True)
def products(request):
    """Let each test run on both."""
    if request.param == "emulated":
        request.getfixturevalue("emulated_amx")
    elif not native.has_linear():
        pytest.skip("a processor without AMX")


def check(found, float32, exact):
    """No less exact than torch's product in float32; where that is rounded but once or twice, to its last place."""
    assert found.shape == exact.shape
    error, of_float32 = ((y - exact).abs() for y in (found, float32))
    assert error.mean() <= max(of_float32.mean(), 2**-23 * exact.abs().mean())
    assert error.max() <= 3 * of_float32.max() + 2**-23 * exact.abs().max()


SHAPES = [
    *((1, 32, 1), (1, 512, 480), (33, 64, 40), (33, 48, 48), (31, 17, 95), (64, 544, 96)),
    *((100, 1056, 33), (300, 130, 70), (40, 2048, 64), (2100, 40, 33)),  # more cells, groups and slabs than one
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("rows", "inner", "width"), SHAPES)
def test_all_three_products_are_as_exact_as_in_float32(rows, inner, width, threads):
    x, w, b, gradient = (
        randn(rows, inner),
        randn(width, inner, seed=2),
        randn(width, seed=3),
        randn(rows, width, seed=4),
    )
    precise = [t.double() for t in (x, w, b, gradient)]
    torch.set_num_threads(threads)
    try:
        y = native.linear(x, native.pack(w), b, width)
        of_x = native.linear(gradient, native.pack(w, transposed=True), None, inner)
        of_w = native.linear(gradient, native.pack(x, transposed=True), None, inner, transposed=True)
    finally:
        torch.set_num_threads(1)
    for found, product in (
        (y, lambda x, w, b, gradient: F.linear(x, w, b)),
        (of_x, lambda x, w, b, gradient: gradient @ w),
        (of_w, lambda x, w, b, gradient: gradient.mT @ x),
    ):
        check(found, product(x, w, b, gradient), product(*precise))


@pytest.mark.parametrize(("rows", "inner", "width"), [(1, 32, 1), (33, 64, 40), (65, 1056, 33)])
def test_relu(rows, inner, width):
    x, packed, b = randn(rows, inner), native.pack(randn(width, inner, seed=2)), randn(width, seed=3)
    y = native.linear(x, packed, b, width, relu=True)
    assert torch.equal(y, native.linear(x, packed, b, width).relu()) and (width == 1 or (y == 0).any())


def test_parts_of_all_sizes_count():
    """24 bits of each factor: with two bfloat16 parts, or without the small products, these would be wrong."""
    x = torch.tensor([[1 + 2**-8 + 2**-16, 1 - 2**-23] + 30 * [0.0]])
    assert torch.equal(native.linear(x, native.pack(torch.eye(32)), None, 32), x)
    assert torch.equal(native.linear(torch.eye(32), native.pack(x), None, 1)[:, 0], x[0])
    assert torch.equal(native.linear(x, native.pack(torch.eye(1), transposed=True), None, 1, transposed=True), x.mT)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_in_its_row_and_is_not_lost(value):
    x, w = randn(2, 3, 32), randn(7, 32, seed=2)
    x[1, 2, 5] = value
    found = native.linear(x, native.pack(w), torch.zeros(7), 7, relu=True)
    assert found.shape == (2, 3, 7) and found[1, 2].isnan().all() and found[0].isfinite().all()
    of_w = native.linear(randn(6, 7, seed=3), native.pack(x.flatten(0, 1), transposed=True), None, 32, transposed=True)
    assert of_w[:, 5].isnan().all() and of_w[:, :5].isfinite().all() and of_w[:, 6:].isfinite().all()


def test_numbers_of_all_sizes():
    """Also those whose smallest parts, or which themselves, AMX takes for 0."""
    x = torch.tensor([2.0**i for i in range(-149, 127)]).unsqueeze(1) * torch.tensor([1, -1.2345678])
    found = native.linear(x, native.pack(torch.eye(2)), None, 2)
    assert torch.allclose(found, x, rtol=2**-23, atol=2**-126)


def test_packing_rounds_as_torch_does():
    x = torch.cat([randn(31, 32), torch.tensor([[1 + 2**-8, 1 + 3 * 2**-8, -0.0, 2**-130] + 28 * [3.4e38]])])
    first_part = native.pack(x.mT.contiguous(), transposed=True)[: 2 * 512].view(2, 16, 16, 2)  # of pairs of rows
    expected = x.bfloat16().mT.clone().view(16, 2, 2, 16).permute(2, 0, 3, 1)
    assert torch.equal(first_part, torch.where(expected.abs() < 2**-126, 0, expected))


@pytest.mark.parametrize("form", ["transposed", "sliced"])
def test_what_is_not_contiguous(form):
    x, w = (randn(64, 64, seed=seed)[: 40 if form == "sliced" else None, :33] for seed in (1, 2))
    x, w = (x, w) if form == "sliced" else (x.mT, w.mT)
    check(native.linear(x, native.pack(w), None, len(w)), x @ w.mT, x.double() @ w.double().mT)
