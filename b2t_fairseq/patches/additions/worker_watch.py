"""End a training within `--distributed-timeout` of a worker that hangs, is stopped or gone, and with torchrun.

Without it: the other workers wait for half an hour (torch's default) without a word about whom they wait for; when
torchrun is killed by SIGKILL, its workers train on.
Versions: every fairseq so far; any torch.

Each worker has two threads. One tells the others, through the store in which the workers met, that it lives and how far
it is, and reads the same of them. The other, which waits for nobody, ends the process if a worker is silent, or if none
of them comes further, for the time allowed: 300 seconds by default, and 1,800 before the first update and while a
checkpoint is saved or data is loaded.
"""

import argparse
import atexit
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from typing import Any

import torch
from fairseq import checkpoint_utils, options
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks.fairseq_task import FairseqTask
from fairseq.trainer import Trainer
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ...common.errors import UserError
from ...common.processes import end_with_parent
from ..wrap import wrap

OPTION, VARIABLE = "--distributed-timeout", "B2T_DISTRIBUTED_TIMEOUT"  # the variable reaches spawned processes
DEFAULT, GENEROUS = 300, 1800  # seconds; torch's own limit for all communication is 1,800
STATUS = 1
GRACE = 2.0  # the first worker that answers says what happened; the others end a little later

_watch: "Watch | None" = None


def apply() -> None:
    wrap(options, "parse_args_and_arch", __name__, _make_parse)
    wrap(distributed_utils, "call_main", __name__, _make_call_main)
    wrap(checkpoint_utils, "load_checkpoint", __name__, _make_load)
    wrap(checkpoint_utils, "save_checkpoint", __name__, _make_slow)
    wrap(Trainer, "get_train_iterator", __name__, _make_slow)
    for owner in (FairseqTask, Trainer):
        for step in ("train_step", "valid_step"):
            wrap(owner, step, __name__, _make_step)


def _make_parse(original):
    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        early.add_argument(OPTION)
        options, rest = early.parse_known_args(input_args)
        if options.distributed_timeout is not None:
            seconds(options.distributed_timeout)
            os.environ[VARIABLE] = options.distributed_timeout
            input_args = rest
        return original(parser, input_args, *args, **kwargs)

    return parse_args_and_arch


def seconds(text: str) -> int:
    """Parse the time that a worker may be silent.

    Raises:
        UserError: not a whole number of 1 to 1,800.
    """
    if not text.isdecimal() or not 1 <= int(text) <= GENEROUS:
        raise UserError(f"{OPTION} {text}: must be a whole number of seconds from 1 to {GENEROUS}")
    return int(text)


def _make_call_main(original):
    def call_main(cfg, main, **kwargs):
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun is the parent
            end_with_parent()
        try:
            return original(cfg, main, **kwargs)
        except ProcessRaisedException as error:
            line = said_by_worker(str(error))
            if line is None:
                raise
            raise UserError(line) from None
        except ProcessExitedException as error:  # it has said why
            raise SystemExit(error.exit_code if error.exit_code > 0 else STATUS) from None

    return call_main


def said_by_worker(trace: str) -> str | None:
    """Return the user's mistake at the end of a spawned worker's traceback; None for any other error."""
    last = trace.rstrip().rpartition("\n")[2]
    match = re.match(r"b2t_fairseq\.[\w.]*Error: (.*)", last)
    return match[1] if match else None


def _make_load(original):
    """Start to watch when all workers have met and the first of them would begin to wait for the others."""

    def load_checkpoint(cfg, trainer, **passthrough_args):
        global _watch
        if _watch is None and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            _watch = Watch(seconds(os.environ.get(VARIABLE, str(DEFAULT))))
            atexit.register(_watch.stop)
        return original(cfg, trainer, **passthrough_args)

    return load_checkpoint


def _make_slow(original):
    def slow(*args, **kwargs):
        if _watch is None:
            return original(*args, **kwargs)
        with _watch.slow():
            return original(*args, **kwargs)

    return slow


def _make_step(original):
    def step(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if _watch is not None:
            _watch.step(is_update=original.__name__ == "train_step" and isinstance(self, Trainer))
        return result

    return step


class Watch:
    """This worker's view of all of them.

    Args:
        limit: seconds that a worker may be silent.
        store: where the workers exchange what they know; by default the one in which they met.
    """

    def __init__(self, limit: int, store: Any = None):
        self.limit, self.rank, self.size = limit, torch.distributed.get_rank(), torch.distributed.get_world_size()
        store = store or torch.distributed.distributed_c10d._get_default_store()
        # a connection of its own: the main thread may hold the other one while it waits
        self.store = torch.distributed.PrefixStore("b2t/watch", store.clone() if hasattr(store, "clone") else store)
        self.interval = min(5.0, limit / 10)
        self.steps, self.updated, self.slow_depth, self.ended = 0, False, 0, threading.Event()
        self.me = {"host": socket.gethostname(), "pid": os.getpid(), "parent": os.getppid()}
        now = time.monotonic()
        self.heard = {rank: (now, None) for rank in range(self.size)}  # when a worker's record last changed
        self.advanced = (now, None)  # when any worker's steps last changed
        self.exchanged = now
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._exchange, self._judge)]
        for thread in self.threads:
            thread.start()

    def step(self, is_update: bool) -> None:
        """Note that the main thread has come a step further."""
        self.steps += 1
        self.updated = self.updated or is_update

    def slow(self) -> "Watch":
        """Return a context manager for a block that may take long."""
        return self

    def __enter__(self) -> None:
        self.slow_depth += 1

    def __exit__(self, *error) -> None:
        self.slow_depth -= 1
        self.steps += 1

    def stop(self) -> None:
        """End the threads: the training is over."""
        self.ended.set()
        for thread in self.threads:
            thread.join(self.interval + 1)

    def _exchange(self) -> None:
        beats, wait = 0, 0.0
        while not self.ended.wait(wait):
            beats += 1
            slow = self.slow_depth > 0 or not self.updated
            mine = {**self.me, "beats": beats, "steps": self.steps, "slow": slow, "starting": not self.updated}
            try:
                self.store.set(str(self.rank), json.dumps(mine))
                for rank in range(self.size):
                    if self.store.check([str(rank)]):
                        self._hear(rank, json.loads(self.store.get(str(rank))))
                self.exchanged = time.monotonic()
            except Exception:  # the store's holder is gone: `_judge` says so, if the training does not end by itself
                return
            # soon again, until all are known: a worker can only be named, and killed, by its record
            wait = self.interval / (1 if all(record for _, record in self.heard.values()) else 10)

    def _hear(self, rank: int, record: dict) -> None:
        now = time.monotonic()
        if self.heard[rank][1] != record:
            self.heard[rank] = (now, record)
        steps = [(record or {}).get("steps") for _, record in self.heard.values()]
        if self.advanced[1] != steps:
            self.advanced = (now, steps)

    def _judge(self) -> None:
        waited, before = self.interval / 2, time.monotonic()
        while not self.ended.wait(waited):
            now = time.monotonic()
            if now - before > 4 * self.interval + 1:  # it was this process that was stopped: hear the others first
                self._forgive(now)
            before = now
            verdict = self.verdict(now)
            if verdict is not None:
                self._end(*verdict)

    def _forgive(self, now: float) -> None:
        self.heard = {rank: (now, record) for rank, (_, record) in self.heard.items()}
        self.advanced, self.exchanged = (now, None), now

    def verdict(self, now: float) -> tuple[list[int], str] | None:
        """Return the workers to blame, and what is wrong with them; None while all is well."""
        records = [record or {"slow": True, "starting": True} for _, record in self.heard.values()]
        # an update takes all of them, so one that knows of its first speaks for all
        starting = not self.updated and all(record["starting"] for record in records)
        limit = GENEROUS if starting else self.limit
        if now - self.exchanged > limit:
            holder = [] if "TORCHELASTIC_RUN_ID" in os.environ else [0]
            return holder, f"the store in which the workers met is silent for {limit} seconds ({OPTION})"
        silent = [rank for rank, (when, _) in self.heard.items() if now - when > limit]
        if silent:
            return silent, f"no sign of life for {limit} seconds ({OPTION})"
        limit = GENEROUS if any(record["slow"] for record in records) else self.limit
        if now - self.advanced[0] > limit:
            steps = [record.get("steps", 0) for record in records]
            behind = [rank for rank, number in enumerate(steps) if number < max(steps)]
            return behind, f"no step for {limit} seconds ({OPTION})"
        return None

    def _end(self, blamed: list[int], what: str) -> None:
        speaker = min(set(range(self.size)) - set(blamed), default=0)
        if self.rank == speaker:
            who = ", ".join(self._name(rank) for rank in blamed) or "all ranks"
            print(
                f"error: {who}: {what}; the same command resumes from the last checkpoint", file=sys.stderr, flush=True
            )
        else:
            time.sleep(GRACE)
        for rank in blamed:
            self._kill(self.heard[rank][1] or {})
        os._exit(STATUS)

    def _name(self, rank: int) -> str:
        record = self.heard[rank][1]
        return f"rank {rank} ({record['host']}, process {record['pid']})" if record else f"rank {rank}"

    def _kill(self, record: dict) -> None:
        """Kill a stopped worker that the same parent has started: it does not react to anything else."""
        if all(record.get(key) == self.me[key] for key in ("host", "parent")) and record["pid"] != self.me["pid"]:
            try:
                with open(f"/proc/{record['pid']}/stat", encoding="utf-8") as stat:
                    if int(stat.read().rpartition(")")[2].split()[1]) == self.me["parent"]:
                        os.kill(record["pid"], signal.SIGKILL)
            except (OSError, ValueError):
                return
