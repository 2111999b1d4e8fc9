"""Dropout: its rate, its scale, its gradient, and when it is on."""

import pytest
import torch
from torch.nn import functional

from b2t_fairseq.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
def test_rate_scale_and_gradient(p):
    torch.manual_seed(1)
    x = torch.ones(501, 999, requires_grad=True)  # an odd number of elements
    y = Dropout(p).train()(x)
    assert (y.detach() == 0).float().mean() == pytest.approx(p, abs=0.003)
    assert y.detach().max() == pytest.approx(1 / (1 - p), rel=1e-4) and len(y.unique()) == 2
    (y * 3).sum().backward()
    assert torch.equal(x.grad, 3 * y.detach())


def test_elements_are_dropped_independently():
    torch.manual_seed(1)
    zero = (Dropout(0.5).train()(torch.ones(2000, 400)) == 0).double()
    for shift in range(1, 9):  # neighbours share a 64-bit number
        both = (zero[:, shift:] * zero[:, :-shift]).mean()
        assert both == pytest.approx(0.25, abs=0.003)


def test_the_seed_decides():
    dropout, x = Dropout(0.2).train(), torch.ones(50, 7)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first) and not torch.equal(first, second)


def test_when_it_is_on():
    x = torch.randn(4, 5)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0).train()(x) is x
    assert torch.equal(Dropout(1.0).train()(x), torch.zeros(4, 5))
    retained = Dropout(0.5, module_name="X").eval()
    retained.make_generation_fast_("", retain_dropout=True, retain_dropout_modules=["X"])
    assert (retained(torch.ones(1000)) == 0).any() and retained.active_p == 0.5


def test_bfloat16_and_views():
    x = torch.randn(6, 4, dtype=torch.bfloat16).t()
    y = Dropout(0.5).train()(x)
    assert y.dtype == torch.bfloat16 and torch.equal(y[y != 0], (x * 2)[y != 0])


def test_what_it_replaces():
    """It is there because of speed: torch's own form draws one number an element."""
    x = torch.ones(700, 512)
    ours, torchs = Dropout(0.1).train(), lambda x: functional.dropout(x, 0.1)
    assert fastest(ours, x) < fastest(torchs, x)


def fastest(function, x, repeats: int = 15) -> float:
    import time

    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function(x)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
