"""Headline generation: Gigaword, embedded news, docstrings or texts of your own, scored by ROUGE F1."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ...common.errors import UserError
from ...common.files import write_atomically
from ...corpora import gigaword, headlines
from ...corpora.embedded import docstrings, news
from ...evaluation.paired import paired_bootstrap, signature
from ...evaluation.rouge import METRICS, corpus_rouge, sentence_scores
from ...evaluation.score import Score
from ...evaluation.text import read_lines
from .. import text_data
from ..baselines.headlines import best_constant, first_words
from .base import Corpus, Scores, Shape
from .text_pairs import TextPairs, hypotheses

CORPUS_SEED = 1


class Summarization(TextPairs):
    """`--task summarization`."""

    name = "summarization"
    metrics = tuple(METRICS)
    extra = "summarization"
    recipe_name = "summarization.yaml"
    blocks = ("text", *TextPairs.blocks)
    layers = "6-6"
    output = "runs/summarization"
    summary = "headlines, 6-6 layers, synthetic news (--corpus docstrings: of installed packages); ROUGE"
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
        """Add the embedded corpus and the number of subwords."""
        which = "without --data: news, or docstrings of Python and installed packages (default: %(default)s)"
        add("--corpus", default="news", choices=("news", "docstrings"), help=which)
        how = "joint subwords (default: the recipe's; with --data by its size)"
        add("--vocab-size", type=int, metavar="N", help=how)

    def __init__(self, options: argparse.Namespace):
        if options.data is not None and options.corpus == "docstrings":
            raise UserError("--corpus docstrings and --data are two corpora: leave one of them out")
        self.corpus = self.load(options)
        self.signature = self.corpus.signature
        super().__init__(options)
        text = options.recipe["text"]
        self.cut_source = text.get("cut")
        if set(text) != {"cut"} or type(self.cut_source) is not int or self.cut_source < 1:
            raise UserError(f"recipe {options.config}: block 'text' must hold cut, a number of pieces, alone")

    @staticmethod
    def load(options: argparse.Namespace) -> docstrings.Docstrings | headlines.Headlines:
        """Return the corpus that the command line names."""
        if options.data is not None:
            return headlines.load(Path(options.data))
        if options.corpus == "docstrings":
            return docstrings.Docstrings()
        return headlines.Headlines(news.generate(seed=CORPUS_SEED), f"corpus:news|seed:{CORPUS_SEED}", {})

    @classmethod
    def default_recipe(cls, options: argparse.Namespace) -> Path:
        """Return the recipe of the corpus that the command line names."""
        return cls.recipe().with_name("docstrings.yaml") if options.corpus == "docstrings" else cls.recipe()

    @property
    def is_parsed(self) -> bool:
        """Return whether the corpus is parsed from installed files."""
        return isinstance(self.corpus, docstrings.Docstrings)

    @property
    def corpus_name(self) -> str:
        """Return the corpus in one word."""
        return "docstrings" if self.is_parsed else super().corpus_name

    @cached_property
    def splits(self) -> Mapping[str, text_data.Pairs]:
        """Return the raw pairs; the docstrings' only when they are needed: parsing a thousand files takes time."""
        return self.corpus.splits

    def default_vocabulary(self) -> int | None:
        """Return a size that the user's corpus can fill; the recipe's for the embedded one."""
        return text_data.vocabulary_for(len(self.splits["train"])) if self.options.data else None

    def data_fingerprint(self) -> str:
        """Hash the pairs, or, of the docstrings, the files that they come from."""
        return self.corpus.fingerprint() if self.is_parsed else super().data_fingerprint()

    def corpus_line(self) -> str:
        """Return the corpus, the subwords and where texts are cut."""
        where = f" in {self.options.data}" if self.options.data else ""
        return f"{self.signature}{where} -> {self.subwords_line()}, texts cut to {self.cut_source} pieces"

    def prepare(self, folder: Path) -> Mapping[str, int]:
        """Write the pairs and their pieces, and note the corpus' signature for starts that do not read it again."""
        if not folder.exists() and self.is_parsed:
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
