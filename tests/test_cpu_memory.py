"""Freed memory stays with the process, unless the user has settings of their own or wants to use less."""

import os
import subprocess
import sys

import pytest
from builders import batch, build_connection, gradients

from b2t_fairseq import cpu_memory
from b2t_fairseq.layers import stack

FAULTS = """
import resource, sys, torch
{plugin}
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(4):
    before = count()
    held = [torch.ones(1_000_000) for _ in range(30)]  # 120 MB
    del held
print(count() - before)
"""


def faults(plugin: bool, **settings: str) -> int:
    code = FAULTS.format(plugin="from b2t_fairseq.cpu_memory import *; keep_freed_memory()" if plugin else "")
    environment = {**os.environ, **settings, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return int(
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_step_finds_its_memory_again():
    assert faults(plugin=False) > 500 and faults(plugin=True) < 100


HELD = """
import torch
from b2t_fairseq.cpu_memory import *
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4 // 1024  # MB
keep_freed_memory()
held, small = [], []
for _ in range(200):
    held.append(torch.ones(250_000))  # 1 MB
    small.append(torch.ones(1_000))  # lasts, between the others
del held
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_what_lies_between_small_objects_is_given_back():
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HELD]
    given = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(given) > 150


def test_activation_checkpointing_gives_memory_back(monkeypatch):
    """At the end of each stack, and where the backward pass enters it."""
    calls = []
    monkeypatch.setattr(stack, "give_back_freed_memory", lambda: calls.append(1))
    for recomputes, expected in ((False, 0), (True, 4)):
        model = build_connection("b2t").train()
        for layers in (model.encoder.layers, model.decoder.layers):
            layers.checkpoint_activations = recomputes
        gradients(model, *batch())
        assert len(calls) == expected


@pytest.mark.parametrize("setting", cpu_memory.OWN_SETTINGS)
def test_the_users_own_settings_win(setting, monkeypatch):
    monkeypatch.setenv(setting, "1000000")
    assert cpu_memory.keep_freed_memory() is False
