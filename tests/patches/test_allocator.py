"""Freed memory stays with the process, unless the user has settings of their own."""

import os
import subprocess
import sys

import pytest

from b2t_fairseq.patches.additions import allocator as cpu_memory

FAULTS = """
import resource, sys, torch
{plugin}
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(2):  # glibc gives back the first blocks of a size; what it does with later ones hangs on how they lie
    before = count()
    held = [torch.ones(1_000_000) for _ in range(30)]  # 120 MB
    del held
print(count() - before)
"""


def faults(plugin: bool, **settings: str) -> int:
    code = FAULTS.format(
        plugin="from b2t_fairseq.patches.additions.allocator import *; keep_freed_memory()" if plugin else ""
    )
    environment = {**os.environ, **settings, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return int(
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_step_finds_its_memory_again():
    given_back = faults(plugin=False)
    assert given_back > 20_000 and faults(plugin=True) < given_back / 2


@pytest.mark.parametrize("setting", cpu_memory.OWN_SETTINGS)
def test_the_users_own_settings_win(setting, monkeypatch):
    monkeypatch.setenv(setting, "1000000")
    assert cpu_memory.keep_freed_memory() is False
