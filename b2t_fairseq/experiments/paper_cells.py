"""The cells of tables and figures at paper scale: `paper-train ... --evaluate`, here one by one or as jobs of SLURM."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..common import processes
from ..common.command_line import ours
from ..common.errors import UserError
from ..common.files import read_record, write_record
from ..connections import get_connection
from ..models.methods import code_key, code_options
from .costs import gpu_hours
from .jobs.runner import Chain, Command, fingerprint
from .recipes import Block, merged, read_paper_recipe, training_options
from .rows import Row, read_hypotheses, read_row
from .tasks import Corpus, Task

FORMAT = "1"  # as in `cells`
SUBMITTED = "submitted.json"  # in a run's folder: the job that trains it
ESTIMATED_FOR = "H100"


def fingerprint_of(
    task: type[Task],
    corpus: Corpus,
    recipe: Mapping[str, Block],
    connection: str,
    layers: str,
    kind: str,
    further: Sequence[str] = (),
) -> str:
    """Hash all that decides a cell's numbers at paper scale; the GPUs and how the batch is split do not.

    Args:
        task: the task.
        corpus: the corpus.
        recipe: the blocks of its recipe.
        connection: the method.
        layers: of each stack.
        kind: "paper", "released" or "own".
        further: seed, precision, and what the command line adds for fairseq.
    """
    tokens, train = training_options(recipe, connection, layers, kind)
    blocks = {"train": train, "average": recipe["average"]}
    blocks |= {test: merged(recipe, task.command, test) for test in corpus.tests}
    options = [f"{name} {key} {value}" for name, block in blocks.items() for key, value in sorted(block.items())]
    key = code_key(connection)
    method = [connection, layers, get_connection(connection).default_init, *([key] if key else [])]
    return fingerprint(FORMAT, "paper", corpus.name, *method, str(tokens), *options, *further)


@dataclass(frozen=True)
class PaperCell:
    """One training of the paper and its scores.

    Attributes:
        task: the task.
        corpus: the corpus.
        connection: the method.
        layers: of each stack.
        seed: of training.
        data: the prepared corpus; None for the default folder.
        root: the folder of all runs at paper scale.
        updates: of training; None for the recipe's.
    """

    task: type[Task]
    corpus: Corpus
    connection: str
    layers: str
    seed: int
    data: str | None
    root: Path
    updates: int | None = None

    @cached_property
    def further(self) -> list[str]:
        """Return the options that follow `--`, for fairseq."""
        return [] if self.updates is None else ["--max-update", str(self.updates)]

    @cached_property
    def fingerprint(self) -> str:
        """Hash all that decides the cell's numbers, as `paper-train` does."""
        names = self.corpus.depths, self.corpus.tests
        recipe = read_paper_recipe(self.corpus.recipe, self.task.command, *names)
        further = [f"seed {self.seed}", "fp16", *self.further]
        return fingerprint_of(self.task, self.corpus, recipe, self.connection, self.layers, "paper", further)

    @property
    def folder(self) -> Path:
        """Return the run's folder; a shortened training has one of its own."""
        short = "" if self.updates is None else f"-{self.updates}"
        return self.root / self.corpus.name / f"{self.connection}-{self.layers}-paper-{self.seed}{short}"

    @property
    def name(self) -> str:
        """Return what the progress display calls the cell."""
        return f"{self.corpus.name} {self.connection} {self.layers} seed {self.seed}"

    @property
    def options(self) -> list[str]:
        """Return the options of `paper-train`, after the corpus."""
        what = ["--connection", self.connection, "--layers", self.layers, "--seed", str(self.seed), "--evaluate"]
        what += code_options(self.connection)
        where = ["--output", str(self.folder), *(["--data", self.data] if self.data else [])]
        return [*what, *where, *(["--", *self.further] if self.further else [])]

    @cached_property
    def chain(self) -> Chain:
        """Return the one command: `paper-train`, which resumes and evaluates."""
        arguments = ours("paper-train", self.corpus.name, *self.options)
        return Chain(self.name, [Command(self.name, arguments, self.folder, "reproduce", resumes=True)])

    @cached_property
    def gpu_hours(self) -> float:
        """Estimate the hours on one H100."""
        if self.corpus.depths and self.layers not in self.corpus.depths:
            raise UserError(f"{self.corpus.name} has the depths {', '.join(self.corpus.depths)}, not {self.layers}")
        return gpu_hours(self.task, self.corpus, self.layers, ESTIMATED_FOR)

    def row(self) -> Row | None:
        """Return the row in the run's folder; None if it is not done."""
        return read_row(self.folder, self.fingerprint)

    def hypotheses(self) -> dict[str, list[str]]:
        """Return what the model wrote, by test set."""
        return read_hypotheses(self.folder, self.corpus.tests)

    def facts(self) -> Row:
        """Return what names the cell."""
        kept = {"scale": "paper", "task": self.task.name, "corpus": self.corpus.name, "connection": self.connection}
        return {**kept, "layers": self.layers, "recipe": "paper", "seed": self.seed, "updates": self.updates}

    def submit(self) -> str:
        """Hand the cell to SLURM; return the line that says so. One that is in the queue stays there."""
        before = read_record(self.folder / SUBMITTED, job=str)
        if before is not None and in_queue(before["job"]):
            return f"{self.name}: job {before['job']} is in the queue already"
        script = Path("scripts") / "slurm" / "train.sbatch"
        if not script.is_file():
            raise UserError(f"--launcher slurm: there is no {script} here: start from the checkout's top folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        answer = slurm(["sbatch", str(script), self.corpus.name, *self.options])
        number = re.search(r"\d+", answer)
        if number is None:
            raise UserError(f"sbatch did not name a job: {answer.strip()}")
        write_record(self.folder / SUBMITTED, {"job": number[0]})
        return f"{self.name}: job {number[0]}"


def in_queue(job: str) -> bool:
    """Return whether SLURM still knows a job as waiting or running."""
    try:
        return bool(processes.run(["squeue", "--noheader", "--jobs", job]).strip())
    except processes.subprocess.CalledProcessError:  # squeue's answer for a job that has ended
        return False


def slurm(command: Sequence[str]) -> str:
    """Run one of SLURM's commands; return what it printed.

    Raises:
        UserError: there is no such command here, or it refuses.
    """
    try:
        return processes.run(command)
    except FileNotFoundError as error:
        raise UserError(f"--launcher slurm: there is no {command[0]} on this machine") from error
    except processes.subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} refuses: {' '.join((error.stderr or error.output or '').split())}") from error
