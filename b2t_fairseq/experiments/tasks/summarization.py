"""Headline generation: docstrings or text with headlines of your own, scored by ROUGE F1."""

import argparse
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from ...common.errors import UserError
from ...common.files import write_atomically
from ...corpora import headlines
from ...corpora.embedded import docstrings
from ...corpora.parallel_text import CorpusError
from ...evaluation.generated import read_lines
from ...evaluation.rouge import METRICS, corpus_rouge
from ...evaluation.score import Score
from .. import text_data as prepare
from ..baselines import headlines as headline_baselines
from .text_pairs import TextPairs


class Summarization(TextPairs):
    """``--task summarization``."""

    name = "summarization"
    recipe = "summarization.yaml"
    metrics = tuple(METRICS)
    blocks = ("text", *TextPairs.blocks)
    layers = "6-6"
    source, target, tests = "article", "title", ("test",)

    @staticmethod
    def add_options(add) -> None:
        add(
            "--vocab-size",
            type=int,
            metavar="N",
            help="joint subwords (default: the recipe's; with --data by its size)",
        )

    def __init__(self, options: argparse.Namespace):
        try:
            self.corpus = docstrings.Docstrings() if options.data is None else headlines.load(Path(options.data))
        except CorpusError as error:
            raise UserError(str(error)) from error
        self.signature = self.corpus.signature
        super().__init__(options)
        text = options.recipe["text"]
        self.cut_source = text.get("cut")
        if set(text) != {"cut"} or type(self.cut_source) is not int or self.cut_source < 1:
            raise UserError(f"recipe {options.config}: block 'text' must hold cut, a number of pieces, alone")

    @cached_property
    def splits(self) -> Mapping[str, prepare.Pairs]:
        """Of the docstrings, only when they are needed: parsing a thousand files takes time."""
        return self.corpus.splits

    def default_vocabulary(self) -> int | None:
        return prepare.vocabulary_for(len(self.splits["train"])) if self.options.data else None

    def data_fingerprint(self) -> str:
        return super().data_fingerprint() if self.options.data else self.corpus.fingerprint()

    def corpus_line(self) -> str:
        where = f" in {self.options.data}" if self.options.data else ""
        return f"{self.signature}{where} -> {self.subwords_line()}, texts cut to {self.cut_source} pieces"

    def prepare(self, folder: Path) -> Mapping[str, int]:
        if not folder.exists() and self.options.data is None:
            print(
                f"parsing {len(self.corpus.files)} source files for their docstrings, about a minute", file=sys.stderr
            )
        counts, note = super().prepare(folder), folder / "corpus.txt"
        if not note.exists():  # with what only reading showed, for starts that do not read again
            write_atomically(note, self.corpus.signature)
        self.signature = note.read_text(encoding="utf-8")
        left_out = {f"train {why}": n for why, n in getattr(self.corpus, "left_out", {}).items() if n}
        return {**counts, **left_out}

    def score(self, folder: Path, output: Path, test: str) -> dict[str, Score]:
        return corpus_rouge(*self.hypotheses(folder, output, test))

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Mapping[str, Score]]]:
        """One headline for all texts, chosen on train and valid, and the first words of each text."""

        def pairs(split: str) -> list[tuple[str, str]]:
            sides = (read_lines(folder / f"{split}.{side}") for side in (self.source, self.target))
            return list(zip(*sides, strict=True))

        test = pairs("test")
        constant = headline_baselines.best_constant(pairs("train"), pairs("valid"))
        said = {
            f"always: {constant}": [constant] * len(test),
            "first 12 words": [headline_baselines.first_words(text) for text, _ in test],
        }
        return {name: {"test": corpus_rouge(lines, [title for _, title in test])} for name, lines in said.items()}
