"""Many files on all cores, in order; a file that kills the process at work on it costs that file only."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ...common import processes

CHUNK = 8  # files that a worker takes at a time
AHEAD = 4  # chunks a worker may be ahead of the reader: memory is bounded by these

Work = Callable[[Path], Any]


def in_processes(work: Work, paths: Sequence[Path], workers: int) -> Iterator[Any]:
    """Yield `work(path)` of each path, in order; for a file that kills its process, a line that says so.

    Args:
        work: a function of a module, which raises nothing.
        paths: the files.
        workers: processes.
    """
    chunks = [paths[begin : begin + CHUNK] for begin in range(0, len(paths), CHUNK)]
    done = 0
    while done < len(chunks):
        try:
            for results in by_chunks(work, chunks[done:], workers):
                yield from results
                done += 1
        except BrokenProcessPool:  # by which file, nobody knows: the next ones are tried one by one, the rest as before
            yield from one_by_one(work, chunks[done])
            done += 1


def by_chunks(work: Work, chunks: Sequence[Sequence[Path]], workers: int) -> Iterator[list]:
    """Yield the results of each chunk, in order."""
    with processes.workers(workers) as pool:
        ahead = deque()
        for chunk in chunks:
            if len(ahead) == AHEAD * workers:
                yield ahead.popleft().result()
            ahead.append(pool.submit(each, work, chunk))
        while ahead:
            yield ahead.popleft().result()


def one_by_one(work: Work, paths: Sequence[Path]) -> Iterator[Any]:
    """Yield the results of each path, from a process that works at nothing else meanwhile."""
    waiting = deque(paths)
    while waiting:
        with processes.workers(1) as pool:
            try:
                while waiting:
                    yield pool.submit(work, waiting[0]).result()
                    waiting.popleft()
            except BrokenProcessPool:
                yield f"{waiting.popleft()}: reading it killed the process that did (for want of memory?)"


def each(work: Work, paths: Sequence[Path]) -> list:
    """Return the results of one chunk; a function of the module, since processes cannot be sent a lambda."""
    return [work(path) for path in paths]
