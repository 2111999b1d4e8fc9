"""Freed memory stays with the process, unless the user has settings of their own."""

import os
import subprocess
import sys

import pytest

from b2t_fairseq.patches.additions import allocator

FAULTS = """
import resource, sys, torch
{plugin}
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(2):  # glibc gives back the first blocks of a size; later ones depend on how they lie
    before = count()
    held = [torch.ones(1_000_000) for _ in range(30)]  # 120 MB
    del held
print(count() - before)
"""


def faults(plugin: bool, **settings: str) -> int:
    code = FAULTS.format(plugin="import b2t_fairseq; b2t_fairseq.patches.apply_to_process()" if plugin else "")
    environment = {**os.environ, **settings, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return int(
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_step_finds_its_memory_again():
    given_back = faults(plugin=False)
    assert given_back > 20_000 and faults(plugin=True) < given_back / 2


@pytest.fixture
def mallopt(monkeypatch):
    """Record the calls of the allocator, on a machine with glibc and without a GPU or settings of the user's own."""
    calls = []
    monkeypatch.setattr(allocator, "_mallopt", lambda: lambda option, value: calls.append(option) or 1)
    monkeypatch.setattr(allocator.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in allocator.OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return calls


def test_both_settings_are_made(mallopt):
    assert allocator.apply() is None
    assert mallopt == [allocator.M_TRIM_THRESHOLD, allocator.M_MMAP_THRESHOLD]


@pytest.mark.parametrize("setting", allocator.OWN_SETTINGS)
def test_the_users_own_settings_win(setting, mallopt, monkeypatch):
    monkeypatch.setenv(setting, "1000000")
    assert allocator.apply() == f"{setting} is set" and not mallopt


def test_a_machine_with_a_gpu_stays_as_it_is(mallopt, monkeypatch):
    monkeypatch.setattr(allocator.torch.cuda, "is_available", lambda: True)
    assert allocator.apply() == "GPU present" and not mallopt


def test_another_system_stays_as_it_is(mallopt, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.apply() == "no glibc" and not mallopt
