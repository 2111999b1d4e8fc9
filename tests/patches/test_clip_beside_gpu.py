"""`--cpu` on a machine with a GPU: nothing may touch the GPU. Here one is pretended."""

import pytest
import torch
from fairseq import utils


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_on_the_cpu_are_clipped_on_the_cpu(monkeypatch, count):
    def touched():
        raise AssertionError("asked for the GPU")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", touched)
    weights = [torch.nn.Parameter(torch.ones(4)) for _ in range(count)]
    for weight in weights:
        weight.grad = torch.full((4,), 2.0)
    norm = utils.clip_grad_norm_(iter(weights), 1.0)
    assert torch.isclose(norm, torch.tensor(4.0 * count**0.5)) and norm.device.type == "cpu"
    assert torch.allclose(torch.cat([w.grad for w in weights]).norm(), torch.tensor(1.0))
    assert torch.cuda.is_available()
