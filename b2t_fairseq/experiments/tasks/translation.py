"""Translation: the embedded English-German corpus or parallel text of your own, scored by SacreBLEU."""

import argparse
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from ...common.errors import UserError
from ...corpora import parallel_text
from ...corpora.embedded import english_german
from ...evaluation.bleu import corpus_bleu
from ...evaluation.score import Score
from .. import text_data as prepare
from .text_pairs import TextPairs

CORPUS_SEED = 1


class Translation(TextPairs):
    """``--task mt``."""

    name = "mt"
    recipe = "quickstart.yaml"
    metrics = ("BLEU",)

    @staticmethod
    def add_options(add) -> None:
        add("--source", default="en", metavar="LANG", help="source language, the suffix of its files (default: en)")
        add("--target", default="de", metavar="LANG", help="target language (default: de)")
        add(
            "--vocab-size",
            type=int,
            metavar="N",
            help="joint subwords (default: the recipe's; with --data by its size)",
        )

    def __init__(self, options: argparse.Namespace):
        self.options, self.source, self.target = options, options.source, options.target
        if self.source == self.target:
            raise UserError(f"--source and --target are both {self.source}; --help lists the options")
        if options.data is None and (self.source, self.target) != ("en", "de"):
            raise UserError(
                "the embedded corpus is English-German: for another language pair name its folder with --data"
            )
        self.tests = [name for name in self.splits if name not in ("train", "valid")]
        super().__init__(options)

    @cached_property
    def splits(self) -> Mapping[str, prepare.Pairs]:
        if self.options.data is None:
            return english_german.generate(seed=CORPUS_SEED)
        try:
            files = parallel_text.find(Path(self.options.data), self.source, self.target).splits()
            return {name: parallel_text.load_split(pair) for name, pair in files.items()}
        except parallel_text.CorpusError as error:
            raise UserError(str(error)) from error

    def default_vocabulary(self) -> int | None:
        return prepare.vocabulary_for(len(self.splits["train"])) if self.options.data else None

    def corpus_line(self) -> str:
        corpus = self.options.data or f"the embedded corpus, seed {CORPUS_SEED}"
        return f"{corpus}, {self.source}-{self.target} -> {self.subwords_line()}"

    def score(self, folder: Path, output: Path, test: str) -> dict[str, Score]:
        return {"BLEU": corpus_bleu(*self.hypotheses(folder, output, test))}

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Mapping[str, Score]]]:
        """The word-by-word lexicon, learned from the same training pairs."""
        from ..baselines.lexicon import LexiconBaseline

        lexicon, scores = LexiconBaseline.fit(self.splits["train"]), {}
        for test in self.tests:
            translated = [lexicon.translate(source) for source, _ in self.splits[test]]
            scores[test] = {"BLEU": corpus_bleu(translated, [target for _, target in self.splits[test]])}
        return {"word-by-word lexicon": scores}
