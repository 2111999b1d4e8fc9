"""A task: everything that a tool may know of it stands in one class in one file, with its corpora as data.

    corpus -> prepare -> preprocess -> train -> average -> evaluate (each test set) -> score -> a row

`Task` is the contract; `tasks/__init__.py` lists the tasks. The class itself serves both scales: names of models, the
evaluating command, scores, the unigram level. An instance is made from the quickstart's command line for the laptop
scale; it reads and checks the user's corpus at once (mistakes are a `UserError` before anything is written), writes
only in `prepare`, and what comes after `prepare` reads from its folder.
"""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from ...common.command_line import ours
from ...common.errors import UserError
from ...common.optional import require_extra
from ...evaluation.score import Score
from ...evaluation.wer import read_references
from ..recipes import configs_folder

#: reads new lines of a command's output; returns how much is done (None: nothing new) and a remark for the display
Counter = Callable[[Iterable[str]], tuple[int | None, str]]
COUNTED_TOKENS = 20_000_000  # of a training set, for the unigram level
#: metric -> score
Scores = Mapping[str, Score]


@dataclass(frozen=True)
class Shape:
    """The sizes of a corpus' models, for the cost model.

    Attributes:
        width, ffn: of the layers.
        source, target: tokens of a typical sentence or window, for attention.
        encoder_share, decoder_share: tokens that each stack sees, for one that `max-tokens` counts.
        extra: matrix weights outside the layers that every encoder input passes (the speech subsampler, per encoder
            position).
        table: parameters of the embeddings.
        output: matrix weights that a decoder token passes at the end.
    """

    width: int
    ffn: int
    source: int
    target: int
    encoder_share: float
    decoder_share: float
    extra: int
    table: int
    output: int


@dataclass(frozen=True)
class Corpus:
    """A corpus of the paper: what preparation, training, evaluation and the cost model need to know of it.

    Attributes:
        name: of its recipe (`configs/paper/NAME.yaml`), its scripts and its folders.
        module: its preparation, in `corpora`: `prepare(manifest, given, workers, space=..., **own options)`, and
            `add_options(add)`, which adds those.
        depths: the depths of the paper's tables; each has a named architecture.
        default_depth: of `--layers`.
        tests: the test sets, in the order of the paper's table.
        metrics: the columns of the paper's table.
        shape: sizes of its models.
        folder: what the preparation calls the folder that fairseq reads.
        shows_mean: the mean over the test sets is a column.
        published_cost: depth -> (GPUs, hours) of the paper's Table 8, our reading of a garbled copy.
    """

    name: str
    module: ModuleType
    depths: tuple[str, ...]
    default_depth: str
    tests: tuple[str, ...]
    metrics: tuple[str, ...]
    shape: Shape
    folder: str = "data-bin"
    shows_mean: bool = False
    published_cost: Mapping[str, tuple[int, int]] | None = None

    @property
    def recipe(self) -> Path:
        """Return the corpus' recipe."""
        return configs_folder() / "paper" / f"{self.name}.yaml"

    def binarised(self, data: Path) -> Path:
        """Return the folder that fairseq reads, whether `data` is that folder itself or the prepared one around it."""
        return data if any(data.glob("dict*.txt")) else data / self.folder


class Task(ABC):
    """One task at both scales.

    Attributes:
        name: what `--task` calls it.
        architecture_stem: what stands before the connection's name in an architecture's.
        command: the command that evaluates, and its block's name in recipes: "generate" or "eval-lm".
        metrics: the names of the scores, in the table's order; the first is the one that counts.
        extra: of `setup.py`, what scoring needs; None: nothing.
        corpora: those of the paper.
        recipe_name: the file in `configs/laptop` that is used unless `--config` names another.
        blocks: the blocks that recipe must hold; `train` and `average` always, the others belong to the task.
        layers: the quickstart's default of `--layers`: one number for each stack, joined by "-" ("18-18", or "6").
        output: the quickstart's default of `--output`.
        tests: the data sets that are evaluated at laptop scale, in order; set by `__init__`.
        summary: what is learned at laptop scale, for `quickstart --help`.
        reads: what `--data` reads, for the same.
        shows_log: whether the quickstart's table shows the training log's perplexities beside the scores.
        options: the quickstart's command line: `data` (a folder or file, or None for the embedded corpus), `config`,
            `recipe` (the blocks read), and what `add_options` added.
    """

    name: ClassVar[str]
    architecture_stem: ClassVar[str]
    command: ClassVar[str] = "generate"
    metrics: ClassVar[tuple[str, ...]]
    extra: ClassVar[str | None] = None
    corpora: ClassVar[tuple[Corpus, ...]]
    recipe_name: ClassVar[str]
    blocks: ClassVar[tuple[str, ...]] = ("train", "average", "generate")
    layers: ClassVar[str] = "18-18"
    output: ClassVar[str]
    summary: ClassVar[str]
    reads: ClassVar[str]
    shows_log: ClassVar[bool] = True
    tests: Sequence[str]

    # ---- both scales

    @classmethod
    @abstractmethod
    def score_output(cls, output: Path, references: Sequence[str], is_published: bool = False) -> dict[str, Score]:
        """Score what the evaluating command printed: a score for each of `metrics`.

        Args:
            output: the command's log.
            references: the raw lines that should have been written (for a language model: the text).
            is_published: of a published test set, from which no pair can be taken.

        Raises:
            UserError: the output is not complete; there is never a number for a part.
        """

    @classmethod
    def check_extra(cls) -> None:
        """Raise a UserError if the packages that scoring needs are missing, before long work that would end in it."""
        if cls.extra is not None:
            require_extra(cls.extra, f"the scores of {cls.name}")

    @classmethod
    def read_references(cls, path: Path) -> list[str]:
        """Read the raw references of a test set: a text, or a manifest of speech (.tsv)."""
        return read_references(path)

    @classmethod
    def sentence_counter(cls) -> Counter | None:
        """Return a fresh counter of evaluated references, for the progress display; None if there is none to count."""
        return None

    @classmethod
    def fitting_arguments(cls, checkpoint: Path, arguments: Sequence[str]) -> Sequence[str]:
        """Return the evaluating command's arguments, checked against a checkpoint.

        Raises:
            UserError: they would evaluate a part only.
        """
        return arguments

    @classmethod
    @abstractmethod
    def target_counts(cls, data: Path, training: Mapping[str, Any]) -> Any:
        """Count the target tokens of the training set, for the unigram level: an array of counts.

        Args:
            data: the folder that fairseq reads.
            training: fairseq-train's options, by name without dashes.
        """

    @classmethod
    def read_hypotheses(cls, output: Path, references: Sequence[str]) -> list[str] | None:
        """Return what a model wrote for each reference, from the evaluating command's log; None if it writes nothing.

        Raises:
            UserError: the output is not complete, or is of other references.
        """
        return None

    @classmethod
    def compare(cls, systems: Mapping[str, Path], references: Sequence[str]) -> list[dict[str, Any]] | None:
        """Test each system's output on one test set against the first's; None if the task has no paired test.

        Args:
            systems: name -> the evaluating command's log.
            references: the raw lines.

        Returns:
            For each system: its name ("run"), score, p (None for the first), and the test's signature.
        """
        return None

    @classmethod
    def paired_test(
        cls, first: Sequence[str], second: Sequence[str], references: Sequence[str]
    ) -> tuple[float, str] | None:
        """Return p of the hypothesis that two systems' lines do not differ in the first metric, and how it was found.

        None if the task has no paired test.
        """
        return None

    # ---- the quickstart

    @staticmethod  # noqa: B027 (most tasks have few options of their own)
    def add_options(add: Callable[..., argparse.Action]) -> None:
        """Add the task's own options by `add("--name", ...)`, as of `argparse.ArgumentParser.add_argument`."""

    def __init__(self, options: argparse.Namespace):
        self.options = options

    @classmethod
    def recipe(cls) -> Path:
        """Return the quickstart's recipe."""
        return configs_folder() / "laptop" / cls.recipe_name

    @classmethod
    def default_recipe(cls, options: argparse.Namespace) -> Path:
        """Return the recipe that is used unless one is named: the task's, or one of a corpus that was chosen."""
        return cls.recipe()

    @abstractmethod
    def corpus_line(self) -> str:
        """Return corpus, versions, seed and preparation in one line, shown by `--dry-run` and above the table."""

    @property
    def corpus_name(self) -> str:
        """Return the corpus in one word, for rows: "embedded", or the name of the user's folder."""
        return Path(self.options.data).resolve().name if self.options.data else "embedded"

    @abstractmethod
    def content(self) -> str:
        """Hash the raw data and how they are prepared (`runner.fingerprint`); the same wherever they lie."""

    def fingerprint(self) -> str:
        """Hash what decides whether a prepared folder is still right; more than `content` only where that is slow."""
        return self.content()

    @abstractmethod
    def prepare(self, folder: Path) -> Mapping[str, int]:
        """Write `folder`, all or nothing, unless it is there already.

        Returns:
            Counts that say what was done, left out and cut, for example {"train pairs": 9000, "left out": 2}.
        """

    @abstractmethod
    def preprocess(self, folder: Path) -> list[str]:
        """Return the command line that binarises what `prepare` wrote; an empty list if there is nothing to do."""

    @abstractmethod
    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        """Return what `train` gets besides the recipe's block and `architecture`.

        Returns:
            The positional data folder with options that hold paths (they do not count as a change when the output
            folder moves), and options that do count, such as `--source-lang en`.
        """

    @abstractmethod
    def subset(self, folder: Path, test: str) -> tuple[Path, str, list[str]]:
        """Return what evaluates one of `tests`: the folder that fairseq reads, its name there, further options."""

    @abstractmethod
    def references(self, folder: Path, test: str) -> list[str]:
        """Return the raw references of one of `tests`; none before `prepare`."""

    @abstractmethod
    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Scores]]:
        """Score what needs no model: name -> test -> metric -> score. For example the unigram's perplexity."""

    def architecture(self, connection: str, depths: Sequence[int]) -> list[str]:
        """Return the flags of the narrow model: `--arch` and, for depths without a name, the options for layers."""
        from fairseq.models import ARCH_MODEL_REGISTRY

        from ...models import methods

        def named(layers: str) -> str:
            return f"{self.architecture_stem}_{connection}_{layers.replace('-', '_')}_tiny"

        if named("-".join(map(str, depths))) in ARCH_MODEL_REGISTRY:
            return ["--arch", named("-".join(map(str, depths)))]
        if methods.is_arch(connection):
            sizes = methods.sizes_like(f"{self.architecture_stem}_post_{self.layers.replace('-', '_')}_tiny", depths)
            flags = [word for name, size in sizes.items() for word in (f"--{name.replace('_', '-')}", str(size))]
            return ["--arch", connection.removeprefix(methods.ARCH), *flags]
        sides = ("encoder", "decoder") if len(depths) == 2 else ("decoder",)
        deeper = [word for side, depth in zip(sides, depths, strict=True) for word in (f"--{side}-layers", str(depth))]
        return ["--arch", named(self.layers), *deeper]

    def evaluate(self, folder: Path, checkpoint: Path, test: str, block: Sequence[str]) -> list[str]:
        """Return the command line that evaluates a checkpoint on one of `tests`; its output is kept.

        Args:
            folder: what `prepare` wrote.
            checkpoint: the model.
            test: one of `tests`.
            block: the recipe's options for the command.
        """
        data, subset, further = self.subset(folder, test)
        return ours(self.command, str(data), "--path", str(checkpoint), "--gen-subset", subset, *further, *block)

    def progress(self, folder: Path, test: str) -> tuple[int, Counter]:
        """Return how much there is to evaluate, and a counter of what is done, for the progress display."""
        counter = self.sentence_counter()
        if counter is None:
            return 1, lambda lines: (None, "")
        return len(self.references(folder, test)) or 1, counter

    def score(self, folder: Path, output: Path, test: str) -> dict[str, Score]:
        """Score what `evaluate` printed for one of `tests` (`score_output`)."""
        return self.score_output(output, self.references(folder, test))


def token_counts(data: Path, split: str, languages: tuple[str, str] | None) -> Any:
    """Count the target tokens of a binarised split: an array of counts by token.

    Raises:
        UserError: no such file, or one that is damaged.
    """
    import numpy
    from fairseq.data import indexed_dataset

    name = f"{split}.{'-'.join(languages)}.{languages[1]}" if languages else split
    try:
        dataset = indexed_dataset.MMapIndexedDataset(str(data / name))
        tokens = numpy.memmap(data / f"{name}.bin", dtype=dataset._index.dtype, mode="r")
    except (OSError, ValueError, AssertionError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{data / name}.bin cannot be read ({reason}): prepare the data again") from error
    return numpy.bincount(tokens[:COUNTED_TOKENS])
