"""From parallel text to sentence pieces that ``preprocess`` can binarise."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..corpora import english_german, parallel_text
from ..errors import UserError
from .runner import fingerprint

LONGEST_TRAINING_SENTENCE = 250  # sentence pieces
LONGEST_SENTENCE = 1000  # the models know 1024 positions
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Corpus:
    """Raw parallel text: the splits, in order, with `train` and `valid` first."""

    source: str
    target: str
    splits: Mapping[str, Pairs]

    @property
    def tests(self) -> list[str]:
        return [name for name in self.splits if name not in ("train", "valid")]

    def fingerprint(self) -> str:
        """A hash of every sentence: other data never meets an old result."""
        content = hashlib.sha256()
        for name, pairs in self.splits.items():
            content.update(f"\0{name}\0".encode())
            for pair in pairs:
                content.update("\n".join(pair).encode() + b"\n")
        return fingerprint(self.source, self.target, content.hexdigest())


def embedded_corpus(seed: int) -> Corpus:
    """The synthetic English-German corpus of the package."""
    return Corpus("en", "de", english_german.generate(seed=seed))


def find_corpus(folder: Path, source: str, target: str) -> Corpus:
    """The user's parallel text: ``train``, ``val`` and ``test*``, checked line by line."""
    try:
        files = parallel_text.find(folder, source, target)
        return Corpus(source, target, {name: parallel_text.load_split(pair) for name, pair in files.splits().items()})
    except parallel_text.CorpusError as error:
        raise UserError(str(error)) from error


def vocabulary_for(training_pairs: int) -> int:
    """A joint vocabulary that a small model can learn from so many pairs."""
    return next(size for limit, size in ((10_000, 2000), (60_000, 4000), (10**12, 8000)) if training_pairs < limit)


def prepare(corpus: Corpus, options: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Writes ``folder`` with subwords.model and, for each split, raw text and pieces; all or nothing.

    Returns:
        Counts: pairs per split, training pairs left out because they are too long, longer sentences cut.
    """
    counts_file = folder / "counts.json"
    if counts_file.exists():
        return json.loads(counts_file.read_text(encoding="utf-8"))
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an earlier start that was interrupted
    partial.mkdir(parents=True)
    for name, pairs in corpus.splits.items():
        for side, language in enumerate((corpus.source, corpus.target)):
            write_lines(partial / f"{name}.{language}", [pair[side] for pair in pairs])
    encode = train_subwords(partial, corpus, options)
    counts = {f"{name} pairs": len(pairs) for name, pairs in corpus.splits.items()} | {"left out": 0, "cut": 0}
    for name, pairs in corpus.splits.items():
        pieces = [(encode(source), encode(target)) for source, target in pairs]
        if name == "train":
            kept = [pair for pair in pieces if max(map(len, pair)) <= LONGEST_TRAINING_SENTENCE]
            counts["left out"], pieces = len(pieces) - len(kept), kept
        counts["cut"] += sum(max(map(len, pair)) > LONGEST_SENTENCE for pair in pieces)
        for side, language in enumerate((corpus.source, corpus.target)):
            write_lines(
                partial / f"{name}.pieces.{language}", [" ".join(pair[side][:LONGEST_SENTENCE]) for pair in pieces]
            )
    (partial / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
    os.replace(partial, folder)
    return counts


def train_subwords(folder: Path, corpus: Corpus, options: Mapping[str, Any]):
    """Trains joint SentencePiece subwords on both sides of the training text; returns the encoder."""
    import sentencepiece

    prefix = folder / "subwords"
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=[str(folder / f"train.{language}") for language in (corpus.source, corpus.target)],
            model_prefix=str(prefix),
            minloglevel=2,
            num_threads=1,  # one order of counting, one result
            **options,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(f"SentencePiece refuses these subwords: {' '.join(str(error).split())}") from error
    processor = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    return lambda sentence: processor.encode(sentence, out_type=str)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """One sentence a line, UTF-8."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
