"""Language modelling: Python's own documentation or text in WikiText's layout, scored by perplexity per word."""

import argparse
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from ...common.command_line import ours
from ...common.errors import UserError
from ...common.files import all_or_nothing
from ...corpora import wikitext
from ...corpora.embedded import python_topics
from ...corpora.parallel_text import CorpusError
from ...evaluation.generated import read_lines
from ...evaluation.perplexity import METRICS, corpus_perplexity, read_eval_lm
from ...evaluation.score import Score
from ...version import __version__
from ..baselines.unigram import UnigramBaseline
from ..jobs.runner import fingerprint
from ..recipes import flags
from ..text_data import counts_of, write_lines
from .base import Task


class LanguageModel(Task):
    """``--task lm``."""

    name = "lm"
    recipe = "language_model.yaml"
    blocks = ("words", "train", "average", "eval-lm")
    layers = "16"
    metrics = METRICS
    tests = ("valid", "test")
    shows_log = False  # those would be a third and a fourth perplexity, of the last checkpoint and without a context

    @staticmethod
    def add_options(add) -> None:
        choices = ", ".join(wikitext.TOKENISATIONS)
        add("--tokenise", default="auto", choices=wikitext.TOKENISATIONS, help=f"the text of --data: {choices}")

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self.threshold = options.recipe["words"].get("thresholdsrc", 0)
        if not isinstance(self.threshold, int) or set(options.recipe["words"]) - {"thresholdsrc"}:
            raise UserError(
                f"recipe {options.config}: block 'words' must hold thresholdsrc, a number, and nothing else"
            )
        self.text  # noqa: B018 (the user's mistakes are found here)

    @cached_property
    def text(self) -> wikitext.Text:
        """The tokenised corpus."""
        try:
            if self.options.data is None:
                return python_topics.load()
            return wikitext.load(Path(self.options.data), self.options.tokenise)
        except CorpusError as error:
            raise UserError(str(error)) from error

    def corpus_line(self) -> str:
        where = f" in {self.options.data}" if self.options.data else ""
        return f"{self.text.signature}|threshold:{self.threshold}{where}"

    def fingerprint(self) -> str:
        splits = ["\n".join(lines) for lines in self.text.splits.values()]
        return fingerprint(self.text.signature, *splits, str(self.threshold), __version__)

    def prepare(self, folder: Path) -> Mapping[str, int]:
        if (counts := counts_of(folder)) is not None:
            return counts
        counts = {}
        with all_or_nothing(folder) as partial:
            for split, lines in self.text.splits.items():
                write_lines(partial / f"{split}.txt", lines)
                counts |= {f"{split} lines": len(lines), f"{split} words": sum(len(line.split()) for line in lines)}
            (partial / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
        return counts

    def preprocess(self, folder: Path) -> list[str]:
        where = [f"--{split}pref={folder / split}.txt" for split in wikitext.SPLITS]
        words = ["--thresholdsrc", str(self.threshold), "--workers", "1"]
        return ours("preprocess", "--only-source", *where, "--destdir", str(folder / "bin"), *words)

    def architecture(self, connection: str) -> list[str]:
        from fairseq.models import ARCH_MODEL_REGISTRY

        (layers,) = self.options.depths
        name = f"transformer_lm_{connection}_{layers}_tiny"
        if name in ARCH_MODEL_REGISTRY:
            return ["--arch", name]
        return ["--arch", f"transformer_lm_{connection}_16_tiny", "--decoder-layers", str(layers)]

    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        return [str(folder / "bin")], []

    def evaluate(self, folder: Path, checkpoint: Path, test: str) -> list[str]:
        what = ["--path", str(checkpoint), "--gen-subset", test, *flags(self.options.recipe["eval-lm"])]
        return ours("eval-lm", str(folder / "bin"), *what)

    def score(self, folder: Path, output: Path, test: str) -> dict[str, Score]:
        return corpus_perplexity(read_eval_lm(output), read_lines(folder / f"{test}.txt"))

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Mapping[str, Score]]]:
        """The unigram model with the same vocabulary."""
        lines = {split: read_lines(folder / f"{split}.txt") for split in wikitext.SPLITS}
        unigram = UnigramBaseline.fit(lines["train"], self.threshold)
        return {"unigram": {test: corpus_perplexity(unigram.evaluate(lines[test]), lines[test]) for test in self.tests}}
