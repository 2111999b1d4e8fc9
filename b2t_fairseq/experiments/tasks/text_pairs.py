"""What translation and summarization share: pairs of lines, joint subwords, an encoder-decoder, beam search."""

import argparse
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ...common.command_line import ours
from ...evaluation.generated import check_order, read_generate_output
from ...evaluation.text import read_lines, refuse_unjoined
from .. import text_data
from ..jobs.progress import sentence_counter
from ..jobs.runner import fingerprint
from .base import Counter, Task, token_counts


class TextPairs(Task):
    """A task on pairs of lines.

    Attributes:
        source: the suffix of the files that are read.
        target: the suffix of the files that are written.
        cut_source: training sources are cut to so many pieces; None leaves out what is too long.
        subwords: SentencePiece's trainer options.
    """

    architecture_stem = "transformer"
    blocks: ClassVar[tuple[str, ...]] = ("subwords", "train", "average", "generate")
    cut_source: int | None = None
    source: str
    target: str
    subwords: Mapping[str, object]

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        size = options.vocab_size or self.default_vocabulary()
        self.subwords = dict(options.recipe["subwords"]) | ({"vocab_size": size} if size else {})

    def default_vocabulary(self) -> int | None:
        """Return the number of subwords if the command line has none; None for the recipe's."""
        return None

    @property
    @abstractmethod
    def splits(self) -> Mapping[str, text_data.Pairs]:
        """Return the raw pairs: train, valid, and the test sets."""

    def data_fingerprint(self) -> str:
        """Hash the raw data."""
        return text_data.ParallelText(self.source, self.target, self.splits).fingerprint()

    def content(self) -> str:
        preparation = repr(sorted(self.subwords.items())), str(self.cut_source or "")
        return fingerprint(self.data_fingerprint(), *filter(None, preparation))

    def subwords_line(self) -> str:
        """Return SentencePiece's options on one line."""
        return "SentencePiece (" + ", ".join(f"{key} {value}" for key, value in self.subwords.items()) + ")"

    def prepare(self, folder: Path) -> Mapping[str, int]:
        if (counts := text_data.counts_of(folder)) is not None:  # before `splits`, which takes time
            return counts
        corpus = text_data.ParallelText(self.source, self.target, self.splits)
        return text_data.prepare(corpus, self.subwords, folder, self.cut_source)

    @classmethod
    def sentence_counter(cls) -> Counter:
        """Count the `D-` lines that generate prints."""
        return sentence_counter()

    @classmethod
    def read_hypotheses(cls, output: Path, references: Sequence[str]) -> list[str]:
        """Return what generate wrote, in the order of the references."""
        return hypotheses(output, references)

    @classmethod
    def target_counts(cls, data: Path, training: Mapping[str, Any]) -> Any:
        """Count the tokens of the target side, named by the recipe's `source-lang` and `target-lang`."""
        return token_counts(data, "train", (str(training["source-lang"]), str(training["target-lang"])))

    def preprocess(self, folder: Path) -> list[str]:
        train, valid, *tests = (str(folder / f"{name}.pieces") for name in ("train", "valid", *self.tests))
        where = ["--trainpref", train, "--validpref", valid, "--testpref", ",".join(tests)]
        where += ["--joined-dictionary", "--destdir", str(folder / "bin"), "--workers", "1"]
        return ours("preprocess", *self.languages(), *where)

    def languages(self) -> list[str]:
        """Return the two options that name the sides."""
        return ["--source-lang", self.source, "--target-lang", self.target]

    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        return [str(folder / "bin")], self.languages()

    def subset(self, folder: Path, test: str) -> tuple[Path, str, list[str]]:
        """Return what evaluates a test set: the binarised folder, `test`, `test1`, ..., and the two languages."""
        return folder / "bin", f"test{self.tests.index(test) or ''}", self.languages()

    def references(self, folder: Path, test: str) -> list[str]:
        """Return the raw lines that should be written; none before `prepare`."""
        path = folder / f"{test}.{self.target}"
        return read_lines(path) if path.exists() else []


def hypotheses(output: Path, references: Sequence[str]) -> list[str]:
    """Return what generate wrote, in the order of the references, which its T- lines must have."""
    check_order(output, references)
    lines = read_generate_output(output)
    refuse_unjoined(lines, references, "score")
    return lines
