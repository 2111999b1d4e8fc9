"""One side of a comparison: a process of its own that measures when asked.

    python -m benchmarks.sides '{"workload": "training", "plugin": true, "options": {…}, "threads": 2, …}'

is one. It builds its workload, prints its facts as a line of JSON, and then, for each line it reads, one measurement.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Side:
    """What one process measures.

    Attributes:
        name: as the table calls it.
        workload: a key of `workloads.WORKLOADS`.
        options: its arguments.
        plugin: whether `b2t_fairseq` is imported first, as --user-dir does.
        fresh: a new process for each measurement, timed from its start to its first answer.
    """

    name: str
    workload: str
    options: dict = field(default_factory=dict)
    plugin: bool = True
    fresh: bool = False


@dataclass(frozen=True)
class Conditions:
    """What both sides share: threads, "cpu" or "cuda", and a folder for files (weights, dictionaries)."""

    threads: int
    device: str
    folder: str


class SideFailed(RuntimeError):
    """A side's process died; the message is the end of its log."""


class Process:
    """A running side, from its start to `close`."""

    def __init__(self, side: Side, conditions: Conditions):
        # here and not above: the stock side imports this file, and must not import the plugin
        from b2t_fairseq.common import processes

        environment = processes.environment(OMP_NUM_THREADS=str(conditions.threads))
        if conditions.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""  # with a GPU in sight, stock fairseq clips gradients there
        command = [sys.executable, "-m", "benchmarks.sides", json.dumps({**asdict(side), **asdict(conditions)})]
        self.side, self.log = side, tempfile.TemporaryFile("w+", dir=conditions.folder)  # noqa: SIM115 closed in close()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        # a session of its own: Ctrl-C is for the parent, which closes the sides in order
        self.process = processes.start(command, env=environment, text=True, start_new_session=True, **pipes)
        try:
            self.facts = self._read()
        except BaseException:
            self.close()
            raise

    def measure(self) -> dict:
        """Take one measurement of the workload; at least "seconds" and "peak_mb".

        Raises:
            SideFailed: the process died.
        """
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # _read says why
        return self._read()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.log.seek(0)
            said = [text for text in self.log.read().splitlines() if text.strip()] or ["it said nothing"]
            raise SideFailed(f"{self.side.name}: its process ended with status {status}: " + "\n".join(said[-8:]))
        return json.loads(line)


class FreshProcess:
    """The same face for a side that starts anew for each measurement."""

    def __init__(self, side: Side, conditions: Conditions):
        self.side, self.conditions, self.facts = side, conditions, {}

    def measure(self) -> dict:
        """Return the seconds from the start of a process to its first answer."""
        began = time.perf_counter()
        process = Process(self.side, self.conditions)
        try:
            first = process.measure()
            seconds = time.perf_counter() - began
        finally:
            process.close()
        self.facts = process.facts
        return {"seconds": seconds, "peak_mb": first["peak_mb"]}

    def close(self) -> None:
        """Do nothing: nothing is running."""


def start(side: Side, conditions: Conditions) -> Process | FreshProcess:
    """Start a side; return when it has built its workload."""
    return (FreshProcess if side.fresh else Process)(side, conditions)


def serve(spec: dict) -> None:
    """Run the side's own process: answers go to stdout, all else that is printed to stderr, which is the log."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(spec["threads"])
    if spec["plugin"]:
        import b2t_fairseq  # noqa: F401
    from .memory import Peak
    from .workloads import WORKLOADS

    peak = Peak(spec["device"])
    workload = WORKLOADS[spec["workload"]](device=spec["device"], folder=spec["folder"], **spec["options"])
    peak.forget()  # what only the building needed
    print(json.dumps(workload.facts()), file=answers, flush=True)
    for _ in sys.stdin:
        measured = workload.measure()
        print(json.dumps({**measured, "peak_mb": peak.megabytes()}), file=answers, flush=True)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
