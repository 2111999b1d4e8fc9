"""One training: torchrun, its log, signals handed on, and an end to what has no use continuing.

status 0    the training is complete
status 75   it was told to stop (SIGTERM, SIGUSR1, Ctrl-C) and has a checkpoint: the same command resumes
status 3    it diverged, or learned nothing
status 1    an accident; the log says which, the same command resumes from the last checkpoint
"""

import contextlib
import functools
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common import processes
from ...common.errors import UserError
from ...common.files import read_record, write_record
from ...patches.additions.stop_on_sigterm import MARKER
from ...patches.additions.stop_on_sigterm import STATUS as STOPPED
from .progress import History

DIVERGED, ACCIDENT = 3, 1
FAILED = "failed.json"  # in the run's folder: the cell of the paper's table says "training failed"
TRAINING = "training.json"  # in the run's folder: what is trained there, and the command
#: of these, what makes it another training
IDENTITY = ("task", "connection", "layers", "recipe", "seed")
CHECKPOINT_SECONDS = 600  # for the current update and its checkpoint after SIGTERM; torchrun's own patience is 30
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
LOG_LINES = 10
#: what a process of a failed training printed, from the most telling to the least
SENTENCES = ("error: ", "FloatingPointError: ", "OutOfMemoryError: ", "RuntimeError: ", "Error: ")


def torchrun(gpus: int, nodes: int, meeting: str | None) -> list[str]:
    """Return the launcher's part of a command line, up to the `-m` of the module that it starts."""
    if meeting is None:
        where = ["--standalone"]
    else:
        name = os.environ.get("SLURM_JOB_ID", "b2t")
        where = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", name]
    patience = ["--shutdown-timeout", str(CHECKPOINT_SECONDS)] if torchrun_has("--shutdown-timeout") else []
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    return [*launcher, *where, "--nproc-per-node", str(gpus), "--max-restarts", "0", *patience]


@functools.cache
def torchrun_has(option: str) -> bool:
    """Return whether this torch's torchrun knows an option."""
    from torch.distributed.run import get_args_parser

    return any(option in action.option_strings for action in get_args_parser()._actions)


@dataclass
class Watch:
    """Sees from the log whether a training is still at the unigram level when it should have left it.

    Attributes:
        count_targets: returns how often each target token occurs in the training set, as an array; asked when needed.
        after: updates before which nothing is said; 0: never.
        within: bits; a loss not further below the level has learned nothing.
    """

    count_targets: Callable[[], Any]
    after: int
    within: float

    def __post_init__(self):
        self.history, self.recent = History(), deque(maxlen=LOG_LINES)

    def verdict(self, line: str) -> str | None:
        """Take a line of the log; return the sentence that ends the training, or None."""
        before = len(self.history.train)
        self.history.read([line])
        if len(self.history.train) == before:
            return None
        updates = self.history.updates
        self.recent.append(self.history.train[updates])
        if not math.isfinite(self.recent[-1]):
            return f"training failed: the loss is {self.recent[-1]} after {updates} updates"
        loss = min(self.recent)  # one batch below the level is a sign of life
        if not self.after or updates < self.after or self.level is None or loss < self.level - self.within:
            return None
        return (
            f"training failed: after {updates} updates the loss is still {loss:.2f} bits, no better than predicting "
            f"words by their frequency ({self.level:.2f}); --stop-after 0 trains on"
        )

    @functools.cached_property
    def level(self) -> float | None:
        """Return the unigram level; None, and a line that says so, where it cannot be counted."""
        try:
            return unigram_bits(self.count_targets())
        except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
            print(f"note: no unigram level ({error}); only NaN ends this run", file=sys.stderr)
            return None


def unigram_bits(counts: Any) -> float:
    """Return the entropy of a token in bits, taken without its context, from an array of counts."""
    import numpy

    share = counts[counts > 0] / counts.sum()
    return float(-(share * numpy.log2(share)).sum())


def supervise(command: Sequence[str], output: Path, watch: Watch, facts: Mapping[str, Any]) -> int:
    """Run a training command and return the status described above.

    Everything it prints is shown and appended to `output`/train.log (train-HOST.log where several machines share it);
    `facts` become `output`/training.json.
    """
    checkpoints = output / "checkpoints"
    refuse_another(output, facts)
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / MARKER).unlink(missing_ok=True)
        (output / FAILED).unlink(missing_ok=True)
        write_record(output / TRAINING, dict(facts))
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written ({error.strerror.lower()}): name another folder"
        ) from error
    name = f"train-{socket.gethostname()}.log" if "--nnodes" in command else "train.log"
    mark = uuid.uuid4().hex
    environment = processes.environment(PYTHONUNBUFFERED="1", PYTHONUTF8="1", B2T_RUN=mark)
    environment.setdefault("OMP_NUM_THREADS", "1")
    child = processes.start(
        list(command),
        ends_by=signal.SIGTERM,  # and so it writes a checkpoint
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        start_new_session=True,  # a terminal's Ctrl-C comes to us alone, and we hand it on
    )
    asked: list[int] = []

    def hand_on(number: int, frame) -> None:
        if number == signal.SIGINT and signal.SIGINT in asked:  # a second Ctrl-C
            end_processes(mark)
        asked.append(number)
        with contextlib.suppress(ProcessLookupError):
            child.terminate()

    before = {number: signal.signal(number, hand_on) for number in STOP_SIGNALS}
    # Workers are sessions of their own: if torchrun were killed, they would continue unseen and hold our pipe.
    threading.Thread(target=lambda: (child.wait(), end_processes(mark)), daemon=True).start()
    try:
        with open(output / name, "a", encoding="utf-8") as log:
            verdict, why = follow(child, log, watch)
        status = child.wait()
    finally:
        end_processes(mark)
        for number, handler in before.items():
            signal.signal(number, handler)
    return report(status, verdict, why, bool(asked), checkpoints, output / name)


def recorded(output: Path, name: str) -> dict[str, Any]:
    """Return `TRAINING` or `FAILED` of a run's folder; empty if it has none."""
    return read_record(output / name) or {}


def refuse_another(output: Path, facts: Mapping[str, Any]) -> None:
    """Refuse to resume with another training's checkpoints."""
    before = recorded(output, TRAINING) if any(output.glob("checkpoints/*.pt")) else {}
    for key in IDENTITY:
        if key in before and before[key] != facts[key]:
            raise UserError(
                f"--output {output} holds a training with {key} {before[key]}, this one has {facts[key]}: name another "
                "folder, or delete that one"
            )


def end_processes(mark: str) -> None:
    """Kill every process whose environment holds the mark (on Linux, where /proc tells)."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def follow(child: subprocess.Popen, log, watch: Watch) -> tuple[str | None, str | None]:
    """Show and keep what the child prints; return why it was ended, if it was, and its own best sentence."""
    verdict, sentences = None, {}
    for line in child.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        log.write(line)
        log.flush()
        for mark in SENTENCES:
            if mark in line:
                sentences.setdefault(mark, line.partition(mark)[2].strip() or line.strip())
                break
        if verdict is None and (verdict := watch.verdict(line)):
            child.terminate()
    return verdict, next((sentences[mark] for mark in SENTENCES if mark in sentences), None)


def report(status: int, verdict: str | None, why: str | None, asked: bool, checkpoints: Path, log: Path) -> int:
    """Say in one line how a training ended, and return the status."""
    last = checkpoints / "checkpoint_last.pt"
    where = f"the same command resumes from {last}" if last.exists() else "there is no checkpoint yet"
    if verdict or (status and why and ("training failed" in why or "loss scale" in why)):
        sentence = verdict or f"training failed: {why.removeprefix('training failed: ')}"
        write_record(log.parent / FAILED, {"reason": sentence})
        return said(DIVERGED, sentence)
    if status == 0:
        return 0
    marker = read_record(checkpoints / MARKER)
    if marker is not None:
        return said(STOPPED, f"stopped as asked, after update {marker.get('updates', '(unknown)')}; {where}")
    if asked:
        return said(STOPPED, f"stopped as asked before the checkpoint was written; {where}")
    reason = f": {why}" if why else f" with status {status}"
    return said(ACCIDENT, f"a process of the training ended{reason} (see {log}); {where}")


def said(status: int, sentence: str) -> int:
    """Print the last line of a run."""
    print(f"{'stopped' if status == STOPPED else 'error'}: {sentence.removeprefix('stopped ')}", file=sys.stderr)
    return status
