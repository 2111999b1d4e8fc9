"""What a row says of the machine."""

import torch

from b2t_fairseq.common import machine


def test_the_device_is_the_one_that_fairseq_takes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.device_of() == machine.device_of(["--cpu"]) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    assert machine.device_of(["--max-update", "3"]) == "card 0" and machine.device_of(["--cpu"]) == "cpu"
    assert machine.machine(1, machine.device_of())["device"] == "card 0"
