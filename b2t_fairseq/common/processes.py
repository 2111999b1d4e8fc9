"""Child processes, which end with the one that started them.

One way each: `run` for a program whose output is wanted, `start` for one to follow, `workers` for functions of ours on
several cores.

A function that runs between fork and exec (`preexec_fn`) makes Python call the hooks of `os.register_at_fork`, and what
a signal's handler raises within one of them is dropped: Ctrl-C at that moment would go unheard. `start` lets it wait.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

PDEATHSIG = 1  # prctl(PR_SET_PDEATHSIG, …)


def start(command: Sequence[str], ends_by: signal.Signals = signal.SIGKILL, **options) -> subprocess.Popen:
    """Start a program; on Linux it gets the signal `ends_by` when this process ends, even by SIGKILL.

    Args:
        command: program and arguments.
        ends_by: the signal.
        **options: of `subprocess.Popen`.

    Raises:
        OSError: the program cannot be started.
        KeyboardInterrupt: or what else a signal's handler raises; the child is killed then.
    """
    if sys.platform != "linux":
        return subprocess.Popen(command, **options)
    parent, child = os.getpid(), None
    try:
        with handlers_wait():
            child = subprocess.Popen(command, preexec_fn=lambda: end_with_parent(ends_by, parent), **options)
    except BaseException:
        if child is not None:
            child.kill()
            child.wait()
        raise
    return child


def run(command: Sequence[str], **options) -> str:
    """Run a program to its end and return what it printed.

    Args:
        command: program and arguments.
        **options: of `subprocess.Popen`; `stderr=subprocess.STDOUT` adds what went to stderr.

    Raises:
        OSError: the program cannot be started.
        subprocess.CalledProcessError: its exit status is not 0; `output` and `stderr` are in the error.
    """
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with start(command, text=True, **options) as child:
        try:
            output, errors = child.communicate()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, output, errors)
    return output


@contextlib.contextmanager
def workers(
    count: int, method: str = "spawn", prepare: Callable | None = None, arguments: tuple = ()
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes; a block that fails or is left early stops them at once.

    Args:
        count: processes.
        method: "spawn", since a fork would copy torch's threads half-way; "fork" starts faster, for plain Python.
        prepare: a function of a module, called once in each worker.
        arguments: of `prepare`.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context(method), start_worker, (prepare, arguments))
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker(prepare: Callable | None, arguments: tuple) -> None:
    """Begin a worker: Ctrl-C is its parent's business, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if prepare is not None:
        prepare(*arguments)


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with these variables, in which a child finds this package wherever it is."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def end_with_parent(number: signal.Signals = signal.SIGKILL, parent: int | None = None) -> None:
    """In a child, ask Linux for a signal when the parent (by its pid) ends, however it ends; elsewhere it may stay."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:  # it ended between fork and prctl
        os._exit(1)


@contextlib.contextmanager
def handlers_wait() -> Iterator[None]:
    """Run the handlers of the signals that ask a program to end when the block is left."""
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread alone
        yield
        return
    received: list[tuple] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda *call: received.append(call))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for call in received:
            before[call[0]](*call)
