"""Headline generation: Gigaword, docstrings or text with headlines of your own, scored by ROUGE F1."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ...common.errors import UserError
from ...common.files import write_atomically
from ...corpora import gigaword, headlines
from ...corpora.embedded import docstrings
from ...evaluation.paired import paired_bootstrap, signature
from ...evaluation.rouge import METRICS, corpus_rouge, sentence_scores
from ...evaluation.score import Score
from ...evaluation.text import read_lines
from .. import text_data
from ..baselines.headlines import best_constant, first_words
from .base import Corpus, Scores, Shape
from .text_pairs import TextPairs, hypotheses


class Summarization(TextPairs):
    """`--task summarization`."""

    name = "summarization"
    metrics = tuple(METRICS)
    recipe_name = "summarization.yaml"
    blocks = ("text", *TextPairs.blocks)
    layers = "6-6"
    output = "runs/summarization"
    summary = "headlines, 6-6 layers, docstrings of Python and of installed packages; ROUGE"
    reads = (
        "a folder with train.article.txt, train.title.txt, valid.*, and input.txt, task1_ref0.txt "
        '(Gigaword), or a file of lines "text TAB headline", which is split by line number'
    )
    source, target, tests = "article", "title", ("test",)
    corpora = (
        Corpus(
            "gigaword",
            gigaword,
            depths=("6-6", "18-18"),
            default_depth="18-18",
            tests=("test",),
            metrics=tuple(METRICS),
            shape=Shape(512, 2048, 40, 12, 1, 0.3, 0, 32_768 * 512, 32_768 * 512),
            published_cost={"6-6": (64, 4), "18-18": (144, 17)},
        ),
    )

    @classmethod
    def score_output(cls, output: Path, references: Sequence[str], is_published: bool = False) -> dict[str, Score]:
        """Score generate's output by ROUGE; a published reference without a word scores 0 and is counted."""
        return corpus_rouge(hypotheses(output, references), references, wordless_as_zero=is_published)

    @classmethod
    def paired_test(cls, first: Sequence[str], second: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
        """Return p of a paired bootstrap of ROUGE-1 over the headlines."""
        sides = [[(row[0], 1.0) for row in sentence_scores(lines, references, True)[0]] for lines in (first, second)]
        return paired_bootstrap(*sides), f"ROUGE-1|{signature()}"

    @staticmethod
    def add_options(add) -> None:
        """Add the number of subwords."""
        how = "joint subwords (default: the recipe's; with --data by its size)"
        add("--vocab-size", type=int, metavar="N", help=how)

    def __init__(self, options: argparse.Namespace):
        self.corpus = docstrings.Docstrings() if options.data is None else headlines.load(Path(options.data))
        self.signature = self.corpus.signature
        super().__init__(options)
        text = options.recipe["text"]
        self.cut_source = text.get("cut")
        if set(text) != {"cut"} or type(self.cut_source) is not int or self.cut_source < 1:
            raise UserError(f"recipe {options.config}: block 'text' must hold cut, a number of pieces, alone")

    @cached_property
    def splits(self) -> Mapping[str, text_data.Pairs]:
        """Return the raw pairs; the docstrings' only when they are needed: parsing a thousand files takes time."""
        return self.corpus.splits

    def default_vocabulary(self) -> int | None:
        """Return a size that the user's corpus can fill; the recipe's for the embedded one."""
        return text_data.vocabulary_for(len(self.splits["train"])) if self.options.data else None

    def data_fingerprint(self) -> str:
        """Hash the pairs, or, of the docstrings, the files that they come from."""
        return super().data_fingerprint() if self.options.data else self.corpus.fingerprint()

    def corpus_line(self) -> str:
        """Return the corpus, the subwords and where texts are cut."""
        where = f" in {self.options.data}" if self.options.data else ""
        return f"{self.signature}{where} -> {self.subwords_line()}, texts cut to {self.cut_source} pieces"

    def prepare(self, folder: Path) -> Mapping[str, int]:
        """Write the pairs and their pieces, and note the corpus' signature for starts that do not read it again."""
        if not folder.exists() and self.options.data is None:
            print(
                f"parsing {len(self.corpus.files)} source files for their docstrings, about a minute", file=sys.stderr
            )
        counts, note = super().prepare(folder), folder / "corpus.txt"
        if not note.exists():
            write_atomically(note, self.corpus.signature)
        self.signature = note.read_text(encoding="utf-8")
        left_out = {f"train {why}": n for why, n in getattr(self.corpus, "left_out", {}).items() if n}
        return {**counts, **left_out}

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Scores]]:
        """Score one headline for all texts, chosen on train and valid, and the first words of each text."""

        def pairs(split: str) -> list[tuple[str, str]]:
            sides = (read_lines(folder / f"{split}.{side}") for side in (self.source, self.target))
            return list(zip(*sides, strict=True))

        test = pairs("test")
        constant = best_constant(pairs("train"), pairs("valid"))
        systems = {
            f"always: {constant}": [constant] * len(test),
            "first 12 words": [first_words(text) for text, _ in test],
        }
        return {name: {"test": corpus_rouge(lines, [title for _, title in test])} for name, lines in systems.items()}
