"""DLCL's combination of all earlier outputs, whose gradient is written by hand."""

import pytest
import torch

from b2t_fairseq.connections.dlcl import Combination


@pytest.mark.parametrize("outputs", [1, 2, 7])
def test_the_combination_and_its_gradients_are_those_of_the_formula(outputs):
    random = torch.Generator().manual_seed(outputs)
    weights = torch.randn(outputs, generator=random, dtype=torch.float64, requires_grad=True)
    history = [torch.randn(5, 3, 4, generator=random, dtype=torch.float64, requires_grad=True) for _ in range(outputs)]
    expected = sum(w * h for w, h in zip(weights, history, strict=True))
    assert torch.allclose(Combination.apply(weights, *history), expected)
    assert torch.autograd.gradcheck(Combination.apply, (weights, *history))


def test_outputs_of_two_precisions_are_combined_as_autocast_leaves_them():
    weights = torch.tensor([0.5, 2.0], requires_grad=True)
    history = [torch.randn(4, 2, 3, requires_grad=True), torch.randn(4, 2, 3, dtype=torch.bfloat16, requires_grad=True)]
    found = Combination.apply(weights, *history)
    assert found.dtype == torch.float32 and torch.allclose(found, 0.5 * history[0] + 2 * history[1].float())
    found.sum().backward()
    assert [h.grad.dtype for h in history] == [torch.float32, torch.bfloat16]
    assert torch.allclose(weights.grad, torch.stack([h.detach().float().sum() for h in history]), atol=1e-4)
