"""Language modelling: WikiText-103, Python's own documentation or text in WikiText's layout; perplexity per word."""

import argparse
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...checkpoints.arguments import model_argument
from ...checkpoints.loading import load_checkpoint
from ...common.command_line import ours
from ...common.errors import UserError
from ...common.files import all_or_nothing, write_record
from ...corpora import wikitext, wikitext103
from ...corpora.embedded import python_topics
from ...evaluation.perplexity import METRICS, corpus_perplexity, read_eval_lm
from ...evaluation.score import Score
from ...evaluation.text import read_lines_as_fairseq
from ..baselines.unigram import UnigramBaseline
from ..jobs.runner import fingerprint
from ..recipes import given_number
from ..text_data import COUNTS, counts_of, write_lines
from .base import Corpus, Scores, Shape, Task, token_counts


def adaptive(width: int, cuts: tuple[int, ...], words: int, factor: int = 4) -> int:
    """Return the parameters of adaptive input embeddings that are shared with the output."""
    ends, total = (*cuts, words), 0
    for number, (begin, end) in enumerate(zip((0, *cuts), ends, strict=True)):
        narrow = width // factor**number
        total += (end - begin) * narrow + narrow * width
    return total


class LanguageModel(Task):
    """`--task lm`."""

    name = "lm"
    architecture_stem = "transformer_lm"
    command = "eval-lm"
    metrics = METRICS
    recipe_name = "language_model.yaml"
    blocks = ("words", "train", "average", "eval-lm")
    layers = "16"
    output = "runs/lm"
    summary = "language model, 16 layers, Python's own documentation; perplexity"
    reads = "a folder with wiki.{train,valid,test}.{tokens,raw} (WikiText) or {train,valid,test}.txt"
    tests = ("valid", "test")
    shows_log = False  # those would be a third and a fourth perplexity, of the last checkpoint and without a context
    corpora = (
        Corpus(
            "wikitext103",
            wikitext103,
            depths=("6", "16"),
            default_depth="16",
            tests=("valid", "test"),
            metrics=("ppl",),
            # a word of the tail passes its cluster; most words are in the head, 20,002 outputs
            shape=Shape(1024, 4096, 0, 256, 0, 1, 0, adaptive(1024, (20_000, 60_000), 267_735), 20_002 * 1024),
            published_cost={"6": (128, 4), "16": (192, 7)},
        ),
    )

    @classmethod
    def score_output(cls, output: Path, references: Sequence[str], is_published: bool = False) -> dict[str, Score]:
        """Return the perplexity that eval-lm measured on the whole text."""
        return corpus_perplexity(read_eval_lm(output), references)

    @classmethod
    def read_references(cls, path: Path) -> list[str]:
        """Read the text as eval-lm's data were made from it."""
        return read_lines_as_fairseq(path)

    @classmethod
    def target_counts(cls, data: Path, training: Mapping[str, Any]) -> Any:
        """Count the words of the training text."""
        return token_counts(data, "train", None)

    @classmethod
    def fitting_arguments(cls, checkpoint: Path, arguments: Sequence[str]) -> Sequence[str]:
        """Return eval-lm's arguments as they are; of windows longer than the model's, it would score a part only.

        Raises:
            UserError: the window is longer.
        """
        window, state = given_number(arguments, "tokens-per-sample"), load_checkpoint(checkpoint)
        longest = model_argument(state, "max_target_positions") or model_argument(state, "tokens_per_sample")
        if window and longest and window > longest:
            raise UserError(
                f"{checkpoint}: the model reads {longest} tokens at a time, and the evaluation's window is {window}: "
                f"add -- --tokens-per-sample {longest} --context-window N, with N below {longest}"
            )
        return arguments

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
        """Return the tokenised corpus."""
        if self.options.data is None:
            return python_topics.load()
        return wikitext.load(Path(self.options.data), self.options.tokenise)

    def corpus_line(self) -> str:
        where = f" in {self.options.data}" if self.options.data else ""
        return f"{self.text.signature}|threshold:{self.threshold}{where}"

    def content(self) -> str:
        splits = ["\n".join(lines) for lines in self.text.splits.values()]
        return fingerprint(self.text.signature, *splits, str(self.threshold))

    def prepare(self, folder: Path) -> Mapping[str, int]:
        if (counts := counts_of(folder)) is not None:
            return counts
        counts = {}
        with all_or_nothing(folder) as partial:
            for split, lines in self.text.splits.items():
                write_lines(partial / f"{split}.txt", lines)
                counts |= {f"{split} lines": len(lines), f"{split} words": sum(len(line.split()) for line in lines)}
            write_record(partial / COUNTS, counts)
        return counts

    def preprocess(self, folder: Path) -> list[str]:
        where = [f"--{split}pref={folder / split}.txt" for split in wikitext.SPLITS]
        words = ["--thresholdsrc", str(self.threshold), "--workers", "1"]
        return ours("preprocess", "--only-source", *where, "--destdir", str(folder / "bin"), *words)

    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        return [str(folder / "bin")], []

    def subset(self, folder: Path, test: str) -> tuple[Path, str, list[str]]:
        """Return what evaluates a split: the binarised folder and the split itself."""
        return folder / "bin", test, []

    def references(self, folder: Path, test: str) -> list[str]:
        """Return the text of a split."""
        return read_lines_as_fairseq(folder / f"{test}.txt")

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Scores]]:
        """Score the unigram model with the same vocabulary."""
        lines = {split: read_lines_as_fairseq(folder / f"{split}.txt") for split in wikitext.SPLITS}
        unigram = UnigramBaseline.fit(lines["train"], self.threshold)
        return {"unigram": {test: corpus_perplexity(unigram.evaluate(lines[test]), lines[test]) for test in self.tests}}
