"""Text files line by line on all cores: a file is cut at line ends, and the parts come back in order.

Lines end at LF. A worker makes its function once, by `make(*arguments)`; memory is bounded by the parts in work.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...common import processes
from ...common.errors import UserError

PART = 4 << 20  # bytes
_convert: Callable[[str], str]  # of this worker


def convert_lines(
    source: Path, target: Path, make: Callable[..., Callable[[str], str]], arguments: Iterable[Any], workers: int
) -> dict[str, float]:
    """Write `target`: each line of `source` (with its LF, if it has one) through the function that `make` gives.

    Returns:
        Counts: lines, seconds and lines per second.
    """
    began, lines = time.monotonic(), 0
    bounds = list(cut(source, min(PART, max(1 << 16, os.path.getsize(source) // (4 * workers) + 1))))
    bar = tqdm(total=os.path.getsize(source), desc=target.name, unit="B", unit_scale=True, disable=None)
    with bar, open(target, "wb") as file:
        for size, count, content in results(source, bounds, make, tuple(arguments), workers):
            file.write(content)
            lines += count
            bar.update(size)
    seconds = time.monotonic() - began
    return {"lines": lines, "seconds": round(seconds, 2), "lines per second": round(lines / max(seconds, 1e-6))}


def results(source: Path, bounds: list, make: Callable, arguments: tuple, workers: int) -> Iterator[tuple]:
    """Yield the converted parts, in order."""
    jobs = [(source, begin, end) for begin, end in bounds]
    if workers == 1 or len(jobs) < 2:
        start_worker(make, arguments)
        yield from map(convert_part, jobs)
        return
    with processes.workers(min(workers, len(jobs)), method(), start_worker, (make, arguments)) as pool:
        try:
            yield from pool.map(convert_part, jobs)
        except BrokenProcessPool:
            raise UserError(
                f"{source}: a worker was killed, probably for want of memory: run again with fewer --workers"
            ) from None


def method() -> str:
    """Fork workers where possible: they do nothing but Python, and need not import torch again for seconds."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def start_worker(make: Callable, arguments: tuple) -> None:
    """Make the worker's function."""
    global _convert
    _convert = make(*arguments)


def convert_part(job: tuple[Path, int, int]) -> tuple[int, int, bytes]:
    """Return bytes read, lines and the result of one part."""
    source, begin, end = job
    with open(source, "rb") as file:
        file.seek(begin)
        content = file.read(end - begin)
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        place = begin + error.start
        raise UserError(f"{source} is not valid UTF-8 (byte {place:,}): fetch it again or convert it") from None
    last = lines.pop()
    converted = [_convert(line + "\n") for line in lines] + ([_convert(last)] if last else [])
    return end - begin, len(converted), "".join(converted).encode("utf-8")


def cut(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """Yield places (begin, end) of parts of about `size` bytes that end where a line does."""
    whole = os.path.getsize(path)
    begin = 0
    with open(path, "rb") as file:
        while begin < whole:
            file.seek(min(begin + size, whole))
            file.readline()
            end = file.tell()
            yield begin, end
            begin = end


def count_lines(path: Path) -> int:
    """Count the lines of a file; the last one counts without its LF, too."""
    lines, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(PART):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")
