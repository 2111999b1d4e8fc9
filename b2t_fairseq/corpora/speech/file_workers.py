"""Many files on all cores, in order; a file that kills the process at work on it costs that file only."""

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ...common.processes import end_with_parent

CHUNK = 8  # files that a worker takes at a time
AHEAD = 4  # chunks a worker may be ahead of the reader: memory is bounded by these

Work = Callable[[Path], Any]


def in_processes(work: Work, paths: Sequence[Path], workers: int) -> Iterator[Any]:
    """``work(path)`` of each path, in order; for a file that kills its process, a sentence that says so.

    Args:
        work: a function of a module, which raises nothing.
        paths: the files.
        workers: processes.
    """
    chunks = [paths[begin : begin + CHUNK] for begin in range(0, len(paths), CHUNK)]
    done = 0
    while done < len(chunks):
        try:
            for found in by_chunks(work, chunks[done:], workers):
                yield from found
                done += 1
        except BrokenProcessPool:  # by which file, nobody knows: the next ones are tried one by one, the rest as before
            yield from one_by_one(work, chunks[done])
            done += 1


def by_chunks(work: Work, chunks: Sequence[Sequence[Path]], workers: int) -> Iterator[list]:
    """The results of each chunk, in order."""
    with worker_processes(workers) as pool:
        ahead = deque()
        for chunk in chunks:
            if len(ahead) == AHEAD * workers:
                yield ahead.popleft().result()
            ahead.append(pool.submit(each, work, chunk))
        while ahead:
            yield ahead.popleft().result()


def one_by_one(work: Work, paths: Sequence[Path]) -> Iterator[Any]:
    """The results of each path, in a process that works at nothing else meanwhile."""
    waiting = deque(paths)
    while waiting:
        with worker_processes(1) as pool:
            try:
                while waiting:
                    yield pool.submit(work, waiting[0]).result()
                    waiting.popleft()
            except BrokenProcessPool:
                yield f"{waiting.popleft()}: reading it killed the process that did (for want of memory?)"


@contextlib.contextmanager
def worker_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool that is left at once, whatever it still has to do."""
    # a fork would copy torch's threads half-way
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def start_worker() -> None:
    """Ctrl-C is the parent's business, and a worker ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def each(work: Work, paths: Sequence[Path]) -> list:
    return [work(path) for path in paths]
