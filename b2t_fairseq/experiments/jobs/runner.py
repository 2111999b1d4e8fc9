"""Commands in child processes: done markers, progress, and a clean end whatever happens to the parent.

A command is done when its marker holds the command's fingerprint; whoever starts again repeats only what is not done.
Children run in process groups of their own and die with the parent, so nothing continues to train unseen.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...common import processes
from ...common.command_line import shown
from ...common.files import read_record, write_record
from .progress import Display

POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Command:
    """One step that is a process of its own.

    Attributes:
        label: what the progress display calls it.
        arguments: the command line; the first is the Python that runs it.
        folder: where its files are: the marker, the standard output and the error output.
        name: the stem of those three files.
        total: how much there is to count, for the progress display.
        count: reads the progress (and a remark) from the output's new lines.
        resumes: the command continues its own earlier work, so its output is appended to.
        depends: the fingerprint of what it reads; a change there is a change here.
        settle: the last word on the arguments, asked when the command starts: only then it is known what there is.
        makes: a folder that the command alone writes; what an interrupted run left there is removed first.
    """

    label: str
    arguments: Sequence[str]
    folder: Path
    name: str
    total: int = 1
    count: Callable[[Iterable[str]], tuple[int | None, str]] = lambda lines: (None, "")
    resumes: bool = False
    depends: str = ""
    settle: Callable[[Sequence[str]], Sequence[str]] = lambda arguments: arguments
    makes: Path | None = None

    @property
    def output(self) -> Path:
        """Return the file of the standard output."""
        return self.folder / f"{self.name}.log"

    @property
    def errors(self) -> Path:
        """Return the file of the error output."""
        return self.folder / f"{self.name}.err"

    @property
    def marker(self) -> Path:
        """Return the file that says that the command is done."""
        return self.folder / f"{self.name}.done"

    @property
    def fingerprint(self) -> str:
        """Hash the command line and what it depends on."""
        return fingerprint(self.depends, *self.arguments[1:])

    def __str__(self) -> str:
        return shown(self.arguments)

    def outcome(self) -> dict | None:
        """Return what the marker says about an earlier run of exactly this command, or None."""
        outcome = read_record(self.marker) or {}
        seconds, failure = outcome.get("seconds"), outcome.get("failure")
        is_sound = isinstance(seconds, int | float) and isinstance(failure, str | None)
        return outcome if is_sound and outcome.get("fingerprint") == self.fingerprint else None


@dataclass
class Chain:
    """Commands that follow each other; a failing one ends its chain, not the others'."""

    name: str
    commands: Sequence[Command]
    failure: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def fingerprint(*parts: str) -> str:
    """Return a short hash that changes when any part does."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


class Child:
    """A running command."""

    def __init__(self, command: Command, arguments: Sequence[str], threads: int):
        command.folder.mkdir(parents=True, exist_ok=True)
        self.command, self.began = command, time.monotonic()
        mode = "ab" if command.resumes else "wb"
        self.seen = command.output.stat().st_size if command.resumes and command.output.exists() else 0
        with open(command.output, mode) as output, open(command.errors, "wb") as errors:
            self.process = processes.start(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=processes.environment(OMP_NUM_THREADS=str(threads), PYTHONUNBUFFERED="1", PYTHONUTF8="1"),
                start_new_session=True,
            )

    def new_lines(self) -> list[str]:
        """Return the complete lines written since the last call."""
        with open(self.command.output, "rb") as output:
            output.seek(self.seen)
            fresh = output.read()
        fresh = fresh[: fresh.rfind(b"\n") + 1]
        self.seen += len(fresh)
        return fresh.decode(errors="replace").splitlines()

    def stop(self) -> None:
        """End the whole process group: politely, then for certain."""
        for number, patience in ((signal.SIGINT, 3), (signal.SIGTERM, 2), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
            except ProcessLookupError:
                self.process.wait()
            except subprocess.TimeoutExpired:
                continue
            return


def why_it_failed(command: Command, status: int) -> tuple[str, bool]:
    """Return one line about a failed command, and whether it diverged (a result of the experiment, not an accident)."""
    errors = command.errors.read_text(encoding="utf-8", errors="replace")
    if "FloatingPointError" in errors:
        return "training failed (the loss or its gradient became NaN)", True
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with status {status}"
    return f"{command.label} failed: {last.removeprefix('error: ')[:300]} (see {command.errors})", False


def run_chains(
    chains: Sequence[Chain],
    jobs: int,
    threads: int,
    display: Display,
    ended: Callable[[Chain], None] = lambda chain: None,
) -> None:
    """Run the chains, at most `jobs` at a time; failures are noted in the chains.

    Args:
        chains: what to run, in this order.
        jobs: processes at a time.
        threads: of each process.
        display: shows the progress.
        ended: is called when a chain has ended, well or not, while others run.
    """
    waiting, running = list(chains), {}
    queues = {id(chain): list(chain.commands) for chain in chains}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                chain = waiting.pop(0)
                running[id(chain)] = (chain, None)
            for key, (chain, child) in list(running.items()):
                if child is None:
                    child = next_child(chain, queues[key], threads, display)
                    if child is None:
                        del running[key]
                        ended(chain)
                        continue
                    running[key] = (chain, child)
                status = child.process.poll()
                done, remark = child.command.count(child.new_lines())
                if status is not None:
                    finish(chain, child, status, display)
                    running[key] = (chain, None)
                else:
                    display.update(child.command.label, done, remark)
            time.sleep(POLL_SECONDS)
    finally:
        for _, child in running.values():
            if child is not None:
                child.stop()
        display.close()


def next_child(chain: Chain, queue: list[Command], threads: int, display: Display) -> Child | None:
    """Start the chain's next command that is not done; None at the chain's end."""
    while queue and chain.failure is None:
        command = queue.pop(0)
        outcome = command.outcome()
        if outcome is None:
            arguments = command.settle(command.arguments)
            if command.makes is not None:
                shutil.rmtree(command.makes, ignore_errors=True)
            display.say(f"$ {shown(arguments)}")
            display.open(command.label, command.total)
            return Child(command, arguments, threads)
        display.say(f"{command.label}: done before, {outcome['seconds']:.0f} s")
        chain.failure, chain.seconds[command.name] = outcome["failure"], outcome["seconds"]
    return None


def finish(chain: Chain, child: Child, status: int, display: Display) -> None:
    """Note how a command ended: a marker for success and for divergence, none for accidents, which are tried again."""
    command, seconds = child.command, time.monotonic() - child.began
    failure, lasting = why_it_failed(command, status) if status else (None, True)
    chain.failure, chain.seconds[command.name] = failure, seconds
    if lasting:
        outcome = {"fingerprint": command.fingerprint, "seconds": round(seconds, 1), "failure": failure}
        write_record(command.marker, outcome)
    display.done(command.label, f"{command.label}: {failure or 'done'}, {seconds:.0f} s")
