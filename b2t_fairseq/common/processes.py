"""Programs that end with the one that started them.

A function that runs between fork and exec (`preexec_fn`) makes Python call the hooks of `os.register_at_fork`, and what
a signal's handler raises within one of them is dropped: Ctrl-C at that moment would go unheard. `start` lets it wait.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

PDEATHSIG = 1  # prctl(PR_SET_PDEATHSIG, …)


def start(command: Sequence[str], ends_by: signal.Signals = signal.SIGKILL, **given) -> subprocess.Popen:
    """`subprocess.Popen(command, **given)`; on Linux the child gets the signal when this process ends, even by SIGKILL.

    Raises:
        KeyboardInterrupt: or what else a signal's handler raises; the child is killed then.
    """
    if sys.platform != "linux":
        return subprocess.Popen(command, **given)
    parent, child = os.getpid(), None
    try:
        with handlers_wait():
            child = subprocess.Popen(command, preexec_fn=lambda: end_with_parent(ends_by, parent), **given)
    except BaseException:
        if child is not None:
            child.kill()
            child.wait()
        raise
    return child


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with these variables, in which a child finds this package wherever it is."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def end_with_parent(number: signal.Signals = signal.SIGKILL, parent: int | None = None) -> None:
    """In a child: asks Linux for a signal when the parent (by its pid) ends, however it ends; elsewhere it may stay."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:  # it ended between fork and prctl
        os._exit(1)


@contextlib.contextmanager
def handlers_wait() -> Iterator[None]:
    """Handlers of the signals that ask a program to end run when the block is left."""
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread alone
        yield
        return
    came: list[tuple] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda *received: came.append(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received in came:
            before[received[0]](*received)
