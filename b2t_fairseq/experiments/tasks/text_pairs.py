"""What translation and summarization share: pairs of lines, joint subwords, an encoder-decoder, beam search."""

import argparse
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ...common.command_line import ours
from ...evaluation.generated import check_order, read_generate_output, read_lines
from ...evaluation.score import Score
from ...version import __version__
from .. import text_data as prepare
from ..jobs.progress import sentence_counter
from ..jobs.runner import fingerprint
from ..recipes import flags
from .base import Counter, Task


class TextPairs(Task):
    """A task on pairs of lines.

    Attributes:
        source: the suffix of the files that are read.
        target: the suffix of the files that are written.
        cut_source: training sources are cut to so many pieces; None leaves out what is too long.
        subwords: SentencePiece's trainer options.
    """

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
        """The number of subwords if the command line has none; None for the recipe's."""
        return None

    @property
    @abstractmethod
    def splits(self) -> Mapping[str, prepare.Pairs]:
        """The raw pairs: train, valid, and the test sets."""

    def data_fingerprint(self) -> str:
        """A hash of the raw data."""
        return prepare.Corpus(self.source, self.target, self.splits).fingerprint()

    def fingerprint(self) -> str:
        preparation = repr(sorted(self.subwords.items())), str(self.cut_source or "")
        return fingerprint(self.data_fingerprint(), *filter(None, preparation), __version__)

    def subwords_line(self) -> str:
        """SentencePiece's options on one line."""
        return "SentencePiece (" + ", ".join(f"{key} {value}" for key, value in self.subwords.items()) + ")"

    def prepare(self, folder: Path) -> Mapping[str, int]:
        if (counts := prepare.counts_of(folder)) is not None:  # before `splits`, which takes time
            return counts
        corpus = prepare.Corpus(self.source, self.target, self.splits)
        return prepare.prepare(corpus, self.subwords, folder, self.cut_source)

    def preprocess(self, folder: Path) -> list[str]:
        train, valid, *tests = (str(folder / f"{name}.pieces") for name in ("train", "valid", *self.tests))
        where = ["--trainpref", train, "--validpref", valid, "--testpref", ",".join(tests)]
        where += ["--joined-dictionary", "--destdir", str(folder / "bin"), "--workers", "1"]
        return ours("preprocess", *self.languages(), *where)

    def languages(self) -> list[str]:
        """The two options that name the sides."""
        return ["--source-lang", self.source, "--target-lang", self.target]

    def architecture(self, connection: str) -> list[str]:
        from fairseq.models import ARCH_MODEL_REGISTRY

        encoder, decoder = self.options.depths
        name = f"transformer_{connection}_{encoder}_{decoder}_tiny"
        if name in ARCH_MODEL_REGISTRY:
            return ["--arch", name]
        deeper = ["--encoder-layers", str(encoder), "--decoder-layers", str(decoder)]
        return ["--arch", f"transformer_{connection}_18_18_tiny", *deeper]

    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        return [str(folder / "bin")], self.languages()

    def evaluate(self, folder: Path, checkpoint: Path, test: str) -> list[str]:
        subset = f"test{self.tests.index(test) or ''}"
        where = ["--path", str(checkpoint), "--gen-subset", subset, *self.languages()]
        return ours("generate", str(folder / "bin"), *where, *flags(self.options.recipe["generate"]))

    def progress(self, folder: Path, test: str) -> tuple[int, Counter]:
        return len(self.references(folder, test)) or 1, sentence_counter()

    def references(self, folder: Path, test: str) -> list[str]:
        """The raw lines that should be written; none before `prepare`."""
        path = folder / f"{test}.{self.target}"
        return read_lines(path) if path.exists() else []

    def hypotheses(self, folder: Path, output: Path, test: str) -> tuple[list[str], list[str]]:
        """What generate wrote and what it should have written, in the same order."""
        references = self.references(folder, test)
        check_order(output, references)
        return read_generate_output(output), references

    @abstractmethod
    def score(self, folder: Path, output: Path, test: str) -> dict[str, Score]: ...
