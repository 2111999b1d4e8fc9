"""What a row says it was trained on."""

import torch

from b2t_fairseq.common import machine


def test_the_device_is_the_one_that_fairseq_takes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.training_device() == machine.training_device(["--cpu"]) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    assert machine.training_device(["--max-update", "3"]) == "card 0" and machine.training_device(["--cpu"]) == "cpu"
    assert machine.machine(1, machine.training_device())["device"] == "card 0"
