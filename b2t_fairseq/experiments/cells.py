"""A cell at laptop scale: one training, its evaluation and its row.

    task × connection × layers × recipe × seed -> train -> average -> evaluate (each test set) -> row.json

The quickstart and `reproduce` make their cells here, so one finds what the other made. A cell's fingerprint holds all
that decides its numbers and nothing else: the corpus' content, the options of training, averaging and evaluation, the
connection's initialisation; no path, no date, no machine.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..common import machine
from ..common.command_line import depths, ours, shown
from ..common.errors import UserError
from ..evaluation.score import Score
from ..models import methods
from . import report
from .jobs.progress import History, training_counter
from .jobs.runner import Chain, Command, fingerprint
from .jobs.supervision import LOG_LINES, unigram_bits
from .recipes import Block, flags, merged
from .rows import Row, curves, read_hypotheses, read_row, write_row
from .tasks.base import Task

#: raised when the same options lead to other numbers, because a fault of ours was fixed: older rows then count no more
FORMAT = "1"
WITHIN_BITS = 0.5  # a loss not further below the unigram level has learned nothing, as in configs/paper
FAILED = "training failed"


@dataclass(frozen=True)
class Cell:
    """One training and its scores.

    Attributes:
        task: the task with its corpus.
        data: the folder that `task.prepare` writes.
        preprocess: the command that binarises it; None where there is nothing to binarise.
        root: the folder in which the cell's own folder is.
        connection: the method.
        layers: of each stack, "18-18".
        recipe: the recipe's blocks.
        recipe_name: the recipe's file name without its ending.
        seed: of training; None for the recipe's.
        updates: of training; None for the recipe's `max-update`.
    """

    task: Task
    data: Path
    preprocess: Command | None
    root: Path
    connection: str
    layers: str
    recipe: Mapping[str, Block]
    recipe_name: str
    seed: int | None = None
    updates: int | None = None

    @cached_property
    def train(self) -> Block:
        """Return the training's options: the recipe's, with those for this connection, depth, seed and length."""
        train = merged(self.recipe, "train", self.connection, self.layers)
        if self.updates is not None:
            interval = max(1, self.updates // self.last_checkpoints)  # a short training ends with enough checkpoints
            train["max-update"] = self.updates
            train["save-interval-updates"] = min(train["save-interval-updates"], interval)
        if self.seed is not None:
            train["seed"] = self.seed
        return train

    @property
    def last_checkpoints(self) -> int:
        """Return how many checkpoints are averaged."""
        return self.recipe["average"].get("num-update-checkpoints", 1)

    @property
    def name(self) -> str:
        """Return what the progress display calls the cell; among cells of several tables no two have one name."""
        if self.seed is None:
            return f"{self.connection} {self.layers}"
        recipe = self.recipe_name.partition("+")[2]
        words = [self.task.name, self.connection, self.layers, *([recipe] if recipe else [])]
        return " ".join([*words, f"{self.train['max-update']} updates, seed {self.seed}"])

    @cached_property
    def architecture(self) -> list[str]:
        """Return the options of the model."""
        named = self.task.architecture(self.connection, depths(self.layers))
        return [*named, *self.task.train(self.data)[1]]

    @property
    def code(self) -> list[str]:
        """Return the options that import a method of the user's; none for ours."""
        return methods.code_options(self.connection)

    @cached_property
    def fingerprint(self) -> str:
        """Hash all that decides the cell's numbers."""
        blocks = {"train": self.train, "average": self.recipe["average"], "evaluate": self.recipe[self.task.command]}
        options = [f"{block} {key} {value}" for block, keys in blocks.items() for key, value in sorted(keys.items())]
        key = methods.code_key(self.connection)
        method = [methods.default_init(self.connection), *([key] if key else []), *self.architecture]
        return fingerprint(FORMAT, self.task.name, self.task.content(), *method, *options, *self.tests)

    @property
    def tests(self) -> Sequence[str]:
        """Return the test sets."""
        return self.task.tests

    @property
    def folder(self) -> Path:
        """Return the cell's folder."""
        return self.root / f"{methods.word(self.connection)}-{self.layers}-{self.fingerprint[:8]}"

    @property
    def averaged(self) -> Path:
        """Return the averaged checkpoint, which is evaluated."""
        return self.folder / "averaged.pt"

    def evaluation_log(self, test: str) -> Path:
        """Return the evaluating command's output."""
        return self.folder / f"evaluate-{test}.log"

    @cached_property
    def chain(self) -> Chain:
        """Return the commands: training, averaging, one evaluation for each test set."""
        data, _ = self.task.train(self.data)
        checkpoints = self.folder / "checkpoints"
        what = [*self.architecture, *flags(self.train), *self.code]
        prepared = self.preprocess.fingerprint if self.preprocess else self.task.fingerprint()
        arguments = ours("train", *data, "--save-dir", str(checkpoints), *what)
        count, total = training_counter(), int(self.train["max-update"])
        commands = [Command(f"train {self.name}", arguments, self.folder, "train", total, count, True, prepared)]
        arguments = [sys.executable, "-m", "b2t_fairseq.average_checkpoints", "--inputs", str(checkpoints)]
        arguments += ["--output", str(self.averaged), *flags(self.recipe["average"])]
        settle = partial(what_there_is, checkpoints, self.last_checkpoints, total)
        depends = commands[-1].fingerprint
        average = Command(f"average {self.name}", arguments, self.folder, "average", depends=depends, settle=settle)
        commands.append(average)
        return Chain(self.name, [*commands, *self.evaluations(average.fingerprint)])

    def evaluations(self, depends: str) -> list[Command]:
        """Return the commands that evaluate the averaged checkpoint, one for each test set.

        Args:
            depends: the fingerprint of what makes the checkpoint.
        """
        commands = []
        for test in self.tests:
            block, label = flags(self.recipe[self.task.command]), f"evaluate {self.name} {test}"
            arguments = self.task.evaluate(self.data, self.averaged, test, [*block, *self.code])
            total, count = self.task.progress(self.data, test)
            log = self.evaluation_log(test).stem
            commands.append(Command(label, arguments, self.folder, log, total, count, depends=depends))
        return commands

    def history(self) -> History:
        """Return the curves in the training's log; empty if there is none."""
        history = History()
        with contextlib.suppress(OSError), open(self.folder / "train.log", encoding="utf-8", errors="replace") as log:
            history.read(log)
        return history

    def scores(self) -> dict[str, dict[str, Score]]:
        """Score what the evaluations printed.

        Raises:
            UserError: one of them is not complete.
        """
        return {test: self.task.score(self.data, self.evaluation_log(test), test) for test in self.tests}

    def row(self) -> Row | None:
        """Return the row that this cell has in its folder; None if it is not done."""
        return read_row(self.folder, self.fingerprint)

    def hypotheses(self) -> dict[str, list[str]]:
        """Return what the model wrote, by test set, as it stands beside the row."""
        return read_hypotheses(self.folder, self.tests)

    def anywhere(self, arguments: Sequence[str]) -> list[str]:
        """Return arguments that name no folder of this machine: the cells' own is `runs/…` everywhere."""
        return [methods.anywhere(a).replace(str(self.root), f"runs/{self.root.name}") for a in arguments]

    def finish(self, counts: Mapping[str, int], threads: int) -> Row | None:
        """Score the finished chain, write the row, and return it; None, and no row, after an accident.

        A training that diverged or learned nothing is a result and has a row. What cannot be scored is noted as the
        chain's failure.

        Args:
            counts: what `task.prepare` returned.
            threads: of each process.
        """
        chain, history = self.chain, self.history()
        if chain.failure is not None and not chain.failure.startswith(FAILED):
            return None
        scores: dict[str, dict[str, Score]] = {}
        if chain.failure is None:
            try:
                scores = self.scores()
            except UserError as error:
                chain.failure = f"no score: {error}"
                return None
        if chain.failure is None and not (history.train or history.valid):
            chain.failure = (
                f"no curve: {self.folder / 'train.log'} holds no losses: delete {self.folder} to train again"
            )
            return None
        level = unigram_bits(self.task.target_counts(Path(self.task.train(self.data)[0][0]), self.target_options))
        failure = chain.failure or nothing_learned(history, level)
        row = self.facts() | {
            "failure": failure,
            "scores": report.by_name(scores),
            "signature": self.signature() if scores else None,
            "parameters": history.parameters,
            "counts": dict(counts),
            "unigram": round(level, 4),
            "curve": curves(history),
            "seconds": {
                **{k: round(v, 1) for k, v in chain.seconds.items()},
                "train": round(history.seconds or chain.seconds["train"], 1),
            },
            "machine": machine.machine(threads, machine.device_of()),
            "command": shown(self.anywhere(chain.commands[0].arguments)),
        }
        hypotheses = {}
        for test in scores:
            references = self.task.references(self.data, test)
            if (lines := self.task.read_hypotheses(self.evaluation_log(test), references)) is not None:
                hypotheses[test] = lines
        write_row(self.folder, row, hypotheses)
        return self.row()

    def signature(self) -> str:
        """Return the signature that the averaged checkpoint carries; an architecture that is not ours has its name."""
        return self.connection if methods.is_arch(self.connection) else signature(self.averaged)

    def facts(self) -> Row:
        """Return what names the cell."""
        return {
            "fingerprint": self.fingerprint,
            "scale": "laptop",
            "task": self.task.name,
            "corpus": self.task.corpus_name,
            "connection": self.connection,
            "layers": self.layers,
            "recipe": self.recipe_name,
            "seed": int(self.train["seed"]),
            "updates": int(self.train["max-update"]),
        }

    @property
    def target_options(self) -> Mapping[str, Any]:
        """Return the options that say which data are the targets, for `Task.target_counts`."""
        named = self.task.train(self.data)[1]
        return {key.removeprefix("--"): value for key, value in zip(named[::2], named[1::2], strict=True)}


def nothing_learned(history: History, level: float) -> str | None:
    """Return the sentence that says a training ended at the unigram level; None if it has learned something."""
    losses = list(history.train.values())[-LOG_LINES:] or list(history.valid.values())[-1:]
    if not losses or min(losses) < level - WITHIN_BITS:  # NaN is not below: it has learned nothing
        return None
    what = "the loss" if len(losses) == 1 else f"the lowest of the last {len(losses)} logged losses"
    return (
        f"{FAILED}: after {max(history.train or history.valid)} updates {what} is {min(losses):.2f} bits, "
        f"no better than predicting words by their frequency ({level:.2f})"
    )


def what_there_is(checkpoints: Path, count: int, updates: int, arguments: Sequence[str]) -> Sequence[str]:
    """Return the averaging of what a short training left: fairseq writes no update checkpoint where an epoch ends.

    Args:
        checkpoints: the training's folder.
        count: how many are to be averaged.
        updates: the training's last; its checkpoint is `checkpoint_last.pt`, too.
        arguments: the averaging command.
    """
    written = {int(path.stem.rpartition("_")[2]): path for path in checkpoints.glob("checkpoint_*_*.pt")}
    if len(written) >= count:
        return arguments
    last = {} if updates in written else {updates: checkpoints / "checkpoint_last.pt"}
    names = [str(path) for _, path in sorted((written | last).items())]
    return [*arguments[:3], "--inputs", *names, "--output", arguments[arguments.index("--output") + 1]]


def signature(checkpoint: Path) -> str:
    """Return the signature that a checkpoint carries."""
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu

    from ..checkpoints.signature import signature_of

    return signature_of(load_checkpoint_to_cpu(str(checkpoint))) or "connection:unknown"


def prepared_data(task: Task, root: Path) -> tuple[Path, Command | None]:
    """Return the folder of a task's data in `root`, and the command that binarises them, None if there is none."""
    key = task.fingerprint()
    data = root / f"data-{key[:8]}"
    arguments = task.preprocess(data)
    if not arguments:
        return data, None
    return data, Command("preprocess", arguments, data, "preprocess", depends=key, makes=data / "bin")


def check_depths(layers: str, task: type[Task]) -> None:
    """Refuse layers that are not as many numbers as the task has stacks.

    Raises:
        UserError: names the task's own form.
    """
    numbers = layers.split("-")
    if len(numbers) != len(task.layers.split("-")) or not all(n.isdecimal() and int(n) for n in numbers):
        raise UserError(f"--layers {layers}: write the number of layers of each stack, as in {task.layers}")


@functools.cache
def cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of_each(jobs: int) -> int:
    """Return the threads of each of so many trainings at a time: OMP_NUM_THREADS if it is set, else their share."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else max(1, cores() // jobs)
