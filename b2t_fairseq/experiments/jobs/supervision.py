"""Runs one training: torchrun, its log, signals handed on, and an end to what has no use going on.

status 0    the training is complete
status 75   it was told to stop (SIGTERM, SIGUSR1, Ctrl-C) and has a checkpoint: the same command goes on
status 3    it diverged, or learned nothing
status 1    an accident; the log says which, the same command goes on from the last checkpoint
"""

import contextlib
import functools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common import processes
from ...common.errors import UserError
from ...common.files import write_atomically
from ...patches.additions.stop_on_sigterm import MARKER
from ...patches.additions.stop_on_sigterm import STATUS as STOPPED
from ..paper_recipe import PaperTask
from .progress import History

DIVERGED, ACCIDENT = 3, 1
FAILED = "failed.json"  # in the run's folder: the cell of the paper's table says "training failed"
TRAINING = "training.json"  # in the run's folder: what is trained there, and the command
#: of these, what makes it another training
IDENTITY = ("task", "connection", "layers", "recipe", "seed")
CHECKPOINT_SECONDS = 600  # for the update at hand and its checkpoint after SIGTERM; torchrun's own patience is 30
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAMPLE = 20_000_000  # tokens that the unigram level is counted from
LOG_LINES = 10
#: what a process of a failed training printed, from the most telling to the least
SENTENCES = ("error: ", "FloatingPointError: ", "OutOfMemoryError: ", "RuntimeError: ", "Error: ")


def torchrun(gpus: int, nodes: int, meeting: str | None) -> list[str]:
    """The launcher's part of a command line, up to the ``-m`` of the module that it starts."""
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
    """Whether this torch's torchrun knows an option."""
    from torch.distributed.run import get_args_parser

    return any(option in action.option_strings for action in get_args_parser()._actions)


@dataclass
class Watch:
    """Sees from the log whether a training is still at the unigram level when it should have left it.

    Attributes:
        task: the corpus.
        data: its binarised folder.
        after: updates before which nothing is said; 0: never.
        within: bits; a loss not further below the level has learned nothing.
    """

    task: PaperTask
    data: Path
    after: int
    within: float

    def __post_init__(self):
        self.history, self.recent = History(), deque(maxlen=LOG_LINES)

    def verdict(self, line: str) -> str | None:
        """Takes a line of the log; the sentence that ends the training, or None."""
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
            f"training failed: after {updates} updates the loss is still {loss:.2f} bits, and words by their frequency "
            f"alone give {self.level:.2f}: the model has learned nothing else (--stop-after 0 goes on all the same)"
        )

    @functools.cached_property
    def level(self) -> float | None:
        """The unigram level; None, and a line that says so, where it cannot be counted."""
        try:
            return unigram_bits(self.task, self.data)
        except (OSError, ValueError, KeyError, IndexError, UserError) as error:
            print(f"note: no unigram level ({error}); only NaN ends this run", file=sys.stderr)
            return None


def unigram_bits(task: PaperTask, data: Path) -> float:
    """The entropy of a target token of the training set, in bits, taken without its context."""
    import numpy

    if task.evaluates == "generate" and (data / "train-clean-100.tsv").exists():
        counts = numpy.array(list(piece_counts(data).values()))
    else:
        paths = sorted(data.glob("train*.bin"))
        target = [p for p in paths if len(p.suffixes) == 3 and p.suffixes[0].endswith("-" + p.suffixes[1][1:])]
        path = (target or paths)[0]
        from fairseq.data import indexed_dataset

        dataset = indexed_dataset.MMapIndexedDataset(str(path.with_suffix("")))
        tokens = numpy.memmap(path, dtype=dataset._index.dtype, mode="r")
        counts = numpy.bincount(tokens[:SAMPLE])
    share = counts[counts > 0] / counts.sum()
    return float(-(share * numpy.log2(share)).sum())


def piece_counts(data: Path) -> dict[int, int]:
    """SentencePiece pieces of the first transcripts of speech, and their ends."""
    from collections import Counter

    import sentencepiece

    from ...corpora.speech.manifest import read_manifest

    rows = read_manifest(data / "train-clean-100.tsv")[:20_000]
    model = sentencepiece.SentencePieceProcessor(model_file=str(data / "spm.model"))
    counts = Counter(piece for row in rows for piece in model.encode(row["tgt_text"]))
    counts[-1] = len(rows)
    return counts


def supervise(command: Sequence[str], output: Path, watch: Watch, facts: Mapping[str, Any]) -> int:
    """Runs a training command and returns the status described above.

    Everything it prints is shown and appended to ``output``/train.log (train-HOST.log where several machines share it);
    ``facts`` become ``output``/training.json.
    """
    checkpoints = output / "checkpoints"
    refuse_another(output, facts)
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / MARKER).unlink(missing_ok=True)
        (output / FAILED).unlink(missing_ok=True)
        write_atomically(output / TRAINING, json.dumps(facts, indent=1) + "\n")
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
    # Workers are sessions of their own: without torchrun, were it killed, they would go on unseen, and hold our pipe.
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
    """`TRAINING` or `FAILED` of a run's folder; empty if it has none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((output / name).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def refuse_another(output: Path, facts: Mapping[str, Any]) -> None:
    """Refuses to go on with another training's checkpoints."""
    before = recorded(output, TRAINING) if any(output.glob("checkpoints/*.pt")) else {}
    for key in IDENTITY:
        if key in before and before[key] != facts[key]:
            raise UserError(
                f"--output {output} holds a training with {key} {before[key]}, this one has {facts[key]}: name another "
                "folder, or delete that one"
            )


def end_processes(mark: str) -> None:
    """Kills every process whose environment holds the mark (on Linux, where /proc tells)."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def follow(child: subprocess.Popen, log, watch: Watch) -> tuple[str | None, str | None]:
    """Shows and keeps what the child prints; returns why it was ended, if it was, and its own best sentence."""
    verdict, found = None, {}
    for line in child.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        log.write(line)
        log.flush()
        for mark in SENTENCES:
            if mark in line:
                found.setdefault(mark, line.partition(mark)[2].strip() or line.strip())
                break
        if verdict is None and (verdict := watch.verdict(line)):
            child.terminate()
    return verdict, next((found[mark] for mark in SENTENCES if mark in found), None)


def report(status: int, verdict: str | None, why: str | None, asked: bool, checkpoints: Path, log: Path) -> int:
    """Says in one sentence how a training ended, and returns the status."""
    last = checkpoints / "checkpoint_last.pt"
    where = f"the same command goes on from {last}" if last.exists() else "there is no checkpoint yet"
    if verdict or (status and why and ("training failed" in why or "loss scale" in why)):
        sentence = verdict or f"training failed: {why.removeprefix('training failed: ')}"
        write_atomically(log.parent / FAILED, json.dumps({"reason": sentence}) + "\n")
        return said(DIVERGED, sentence)
    if status == 0:
        return 0
    with contextlib.suppress(OSError, ValueError):
        updates = json.loads((checkpoints / MARKER).read_text(encoding="utf-8"))["updates"]
        return said(STOPPED, f"stopped as asked, after update {updates}; {where}")
    if asked:
        return said(STOPPED, f"stopped as asked before the checkpoint was written; {where}")
    told = f": {why}" if why else f" with status {status}"
    return said(ACCIDENT, f"a process of the training ended{told} (see {log}); {where}")


def said(status: int, sentence: str) -> int:
    """Prints the last sentence of a run."""
    print(f"{'stopped' if status == STOPPED else 'error'}: {sentence.removeprefix('stopped ')}", file=sys.stderr)
    return status
