"""Products of few rows, against double precision."""

import copy
import pickle

import pytest
import torch
from torch import nn

from b2t_fairseq import native

pytestmark = pytest.mark.skipif(native.kernels() is None, reason="no C++ compiler")


def linears(inner, widths, dtype, bias=True):
    torch.manual_seed(1)
    return [nn.Linear(inner, width, bias=bias, dtype=dtype) for width in widths]


def exact(x, modules):
    """Their product in double precision, (..., sum of C_out)."""
    biases = [torch.zeros(len(m.weight)) if m.bias is None else m.bias for m in modules]
    return torch.cat([x.double() @ m.weight.double().T + b.double() for m, b in zip(modules, biases, strict=True)], -1)


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("inner", [1, 7, 16, 48, 515])
@pytest.mark.parametrize("widths", [(1,), (2,), (32,), (16, 17, 18), (1000,)])
@torch.no_grad()
def test_few_rows_are_float32s_product(dtype, inner, widths):
    for rows in (1, 2, 3, 4, 5, 31):
        for bias in (True, False):
            modules, x = linears(inner, widths, dtype, bias), torch.randn(1, rows, inner).to(dtype)
            expected = exact(x, modules)
            for relu in (True, False):
                found = native.FewRows(modules, relu)(x)
                assert found.dtype == dtype and found.shape == expected.shape
                wanted = expected.clamp(min=0) if relu else expected
                # bfloat16 keeps 8 bits of a result; float32's sums are exact to about its last bits
                assert torch.allclose(
                    found.double(), wanted, rtol=2**-8 if dtype == torch.bfloat16 else 1e-5, atol=1e-5
                )


@pytest.mark.parametrize("rows", [1, 3, 4, 6])
@pytest.mark.parametrize("width", [1, 3, 4, 50])
def test_nothing_is_written_beside_the_result(rows, width):
    """A compiler once took four rows where there was one."""
    inner, stride, room = 64, width + 2, 5
    x, weight = torch.randn(rows, inner), torch.randn(width, inner)
    y = torch.full((rows + room, stride), 7.0)
    sizes = rows, inner, width, stride
    native.kernels().few_rows(x.data_ptr(), weight.data_ptr(), None, False, False, *sizes, y.data_ptr(), 2)
    assert torch.allclose(y[:rows, :width], x @ weight.T, atol=1e-4)
    y[:rows, :width] = 7
    assert (y == 7).all()


@pytest.mark.parametrize("dtype", native.DTYPES)
@torch.no_grad()
def test_what_is_not_a_number_stays_so(dtype):
    (module,) = linears(40, (9,), dtype)
    x = torch.ones(2, 40, dtype=dtype)
    x[0, 3] = torch.nan
    found = native.FewRows([module], True)(x)
    assert found[0].isnan().all()
    assert found[1].isfinite().all()


@torch.no_grad()
def test_a_weight_that_does_not_lie_row_by_row():
    (module,) = linears(24, (40,), torch.float32)
    module.weight = nn.Parameter(module.weight.T.contiguous().T)
    x = torch.randn(3, 24).T.contiguous().T
    assert torch.allclose(native.FewRows([module], False)(x).double(), exact(x, [module]), atol=1e-5)


@pytest.mark.parametrize("bias", [torch.ones(1).expand(40), torch.randn(80)[::2]])
@torch.no_grad()
def test_a_bias_that_does_not_lie_number_by_number(bias):
    (module,) = linears(24, (40,), torch.float32)
    module.bias = nn.Parameter(bias)
    x = torch.randn(3, 24)
    assert torch.allclose(native.FewRows([module], False)(x).double(), exact(x, [module]), atol=1e-5)


def test_what_does_not_fit_is_an_error():
    wide, narrow = linears(24, (4,), torch.float32) + linears(8, (4,), torch.float32)
    half = nn.Linear(24, 4)
    half.bias = nn.Parameter(half.bias.detach().bfloat16())
    for modules in ([wide, narrow], [wide, nn.Linear(24, 4, dtype=torch.bfloat16)], [half]):
        with pytest.raises(ValueError, match="of one dtype and width"):
            native.FewRows(modules, False)
    for x in (torch.ones(2, 23), torch.ones(2, 25), torch.ones(2, 24, device="meta")):
        with pytest.raises(ValueError, match=r"\(\.\.\., 24\) on the CPU is needed"):
            native.FewRows([wide], False)(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda product: pickle.loads(pickle.dumps(product))])
@torch.no_grad()
def test_a_copy_has_its_own_numbers(copied):
    (module,) = linears(24, (4,), torch.float32)
    x = torch.randn(3, 24)
    product = native.FewRows([module], False)
    expected, other = product(x), copied(product)
    module.weight.zero_()
    assert torch.equal(other(x), expected)
    assert torch.equal(product(x), module.bias.expand(3, -1))
