"""Translation: WMT English-German, the embedded English-German corpus or parallel text of your own; SacreBLEU."""

import argparse
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...corpora import parallel_text, wmt_ende
from ...corpora.embedded import english_german
from ...evaluation.bleu import corpus_bleu
from ...evaluation.score import Score
from .. import text_data
from ..baselines.lexicon import LexiconBaseline
from .base import Corpus, Scores, Shape
from .text_pairs import TextPairs, hypotheses

CORPUS_SEED = 1
SAMPLES = 1000  # of the paired bootstrap


class Translation(TextPairs):
    """`--task mt`."""

    name = "mt"
    metrics = ("BLEU",)
    recipe_name = "quickstart.yaml"
    layers = "18-18"
    output = "runs/quickstart"
    summary = "translation, 18-18 layers, a synthetic English-German corpus; SacreBLEU"
    reads = "a folder with train, val and test*.{SRC,TGT}"
    corpora = (
        Corpus(
            "wmt_ende",
            wmt_ende,
            depths=("6-6", "12-12", "18-18", "36-36", "50-50", "60-12", "100-100"),
            default_depth="18-18",
            tests=tuple(f"newstest{year}" for year in range(2010, 2017)),
            metrics=("BLEU",),
            shape=Shape(512, 2048, 30, 30, 1, 1, 0, 32_768 * 512, 32_768 * 512),
            shows_mean=True,
            published_cost={"6-6": (128, 5), "18-18": (128, 13)},
        ),
    )

    @classmethod
    def score_output(cls, output: Path, references: Sequence[str], is_published: bool = False) -> dict[str, Score]:
        """Score generate's output by SacreBLEU."""
        return {"BLEU": corpus_bleu(hypotheses(output, references), references)}

    @classmethod
    def compare(cls, systems: Mapping[str, Path], references: Sequence[str]) -> list[dict[str, Any]]:
        """Compare each system with the first by SacreBLEU's paired bootstrap."""
        return paired_bootstrap({name: hypotheses(log, references) for name, log in systems.items()}, references)

    @classmethod
    def paired_test(cls, first: Sequence[str], second: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
        """Return p of SacreBLEU's paired bootstrap."""
        one, other = paired_bootstrap({"first": first, "second": second}, references)
        is_tie = one["BLEU"] == other["BLEU"]  # SacreBLEU counts differences larger than the observed one
        return 1.0 if is_tie else float(other["p"]), other["signature"]

    @staticmethod
    def add_options(add) -> None:
        """Add the languages and the number of subwords."""
        add("--source", default="en", metavar="LANG", help="source language, the suffix of its files (default: en)")
        add("--target", default="de", metavar="LANG", help="target language (default: de)")
        how = "joint subwords (default: the recipe's; with --data by its size)"
        add("--vocab-size", type=int, metavar="N", help=how)

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
    def splits(self) -> Mapping[str, text_data.Pairs]:
        """Return the raw pairs: generated, or read from the user's folder."""
        if self.options.data is None:
            return english_german.generate(seed=CORPUS_SEED)
        files = parallel_text.find(Path(self.options.data), self.source, self.target).splits()
        return {name: parallel_text.load_split(pair) for name, pair in files.items()}

    def default_vocabulary(self) -> int | None:
        """Return a size that the user's corpus can fill; the recipe's for the embedded one."""
        return text_data.vocabulary_for(len(self.splits["train"])) if self.options.data else None

    def corpus_line(self) -> str:
        """Return the corpus, its seed, the languages and the subwords."""
        corpus = self.options.data or f"the embedded corpus, seed {CORPUS_SEED}"
        return f"{corpus}, {self.source}-{self.target} -> {self.subwords_line()}"

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Scores]]:
        """Score the word-by-word lexicon, learned from the same training pairs."""
        lexicon, scores = LexiconBaseline.fit(self.splits["train"]), {}
        for test in self.tests:
            translated = [lexicon.translate(source) for source, _ in self.splits[test]]
            scores[test] = {"BLEU": corpus_bleu(translated, [target for _, target in self.splits[test]])}
        return {"word-by-word lexicon": scores}


def paired_bootstrap(systems: Mapping[str, Sequence[str]], references: Sequence[str]) -> list[dict[str, Any]]:
    """Compare each system against the first on one test set by SacreBLEU's paired bootstrap.

    Identical output has p = 1: SacreBLEU counts differences larger than the observed one, and gives the smallest p.
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    named = [(name, list(lines)) for name, lines in systems.items()]
    test = PairedTest(named, {"BLEU": BLEU()}, [list(references)], test_type="bs", n_samples=SAMPLES)
    signatures, results = test()
    compared = []
    for (name, lines), result in zip(named, results["BLEU"], strict=True):
        p = 1.0 if result.p_value is not None and lines == named[0][1] else result.p_value
        compared.append({"run": name, "BLEU": round(result.score, 2), "p": p, "signature": str(signatures["BLEU"])})
    return compared
