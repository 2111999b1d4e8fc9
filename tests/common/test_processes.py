"""Programs that end with the one that started them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from b2t_fairseq.common import processes

SLEEPING = [sys.executable, "-c", "import time; time.sleep(60)"]
ROOT = Path(__file__).resolve().parents[2]


def test_a_child_finds_the_package_and_what_the_user_added(tmp_path, monkeypatch):
    (tmp_path / "added.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = """
import importlib.util, os, added
print(importlib.util.find_spec('b2t_fairseq').origin, os.environ['OMP_NUM_THREADS'])
"""
    command = [sys.executable, "-S", "-c", code]  # -S: nothing that is installed
    environment = processes.environment(OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(ROOT / "b2t_fairseq" / "__init__.py"), "1"], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only there something runs between fork and exec")
@pytest.mark.parametrize("program", ["sleep", "no-such-program"])
def test_ctrl_c_during_the_fork_is_heard(program):
    code = """
import os, signal, sys, types
sys.modules['b2t_fairseq'] = package = types.ModuleType('b2t_fairseq')  # without torch: seconds less
package.__path__ = ['b2t_fairseq']
from b2t_fairseq.common import processes
signal.signal(signal.SIGINT, signal.default_int_handler)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    processes.start([sys.argv[1], '60'])
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print('heard, and the child is gone')
"""
    command = [sys.executable, "-c", code, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "heard, and the child is gone\n" and not done.stderr


def test_handlers_are_as_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with processes.handlers_wait():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_may_start_programs_too():
    status = []
    thread = threading.Thread(target=lambda: status.append(processes.start([sys.executable, "-c", ""]).wait()))
    thread.start(), thread.join(60)
    assert status == [0]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_whose_parent_ended_before_prctl_ends():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    code += "import runpy; runpy.run_path('b2t_fairseq/common/processes.py')['end_with_parent'](parent=1); print('on')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not done.stdout and os.getpid() != 1


def test_run_returns_what_was_printed():
    code = "import sys; print('out'); print('err', file=sys.stderr); print(repr(sys.stdin.read())); sys.exit({})"
    command = [sys.executable, "-S", "-c"]
    assert processes.run([*command, code.format(0)]) == "out\n''\n"
    assert "err" in processes.run([*command, code.format(0)], stderr=subprocess.STDOUT)
    with pytest.raises(subprocess.CalledProcessError) as error:
        processes.run([*command, code.format(3)])
    assert (error.value.returncode, error.value.output, error.value.stderr) == (3, "out\n''\n", "err\n")
    with pytest.raises(FileNotFoundError):
        processes.run(["no-such-program"])


def remember(number: int) -> None:
    os.environ["REMEMBERED"] = str(number)


def remembered(_) -> tuple[str, bool]:
    return os.environ["REMEMBERED"], signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_workers_are_prepared_and_leave_ctrl_c_to_their_parent():
    with processes.workers(2, "fork", remember, (7,)) as pool:
        assert list(pool.map(remembered, range(3))) == [("7", True)] * 3


def test_workers_that_are_busy_are_stopped_when_the_block_fails():
    began = time.monotonic()
    with pytest.raises(RuntimeError), processes.workers(1, "fork") as pool:
        pool.submit(time.sleep, 60)
        raise RuntimeError
    assert time.monotonic() - began < 30
