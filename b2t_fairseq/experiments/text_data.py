"""From parallel text to sentence pieces that `preprocess` can binarise."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import all_or_nothing, read_record, write_record
from .jobs.runner import fingerprint

LONGEST_TRAINING_SENTENCE = 250  # sentence pieces
LONGEST_SENTENCE = 1000  # the models know 1024 positions
COUNTS = "counts.json"  # in a prepared folder
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ParallelText:
    """Raw parallel text: the splits, in order, with `train` and `valid` first."""

    source: str
    target: str
    splits: Mapping[str, Pairs]

    def fingerprint(self) -> str:
        """Hash every sentence: other data never meets an old result."""
        content = hashlib.sha256()
        for name, pairs in self.splits.items():
            content.update(f"\0{name}\0".encode())
            for pair in pairs:
                content.update("\n".join(pair).encode() + b"\n")
        return fingerprint(self.source, self.target, content.hexdigest())


def vocabulary_for(training_pairs: int) -> int:
    """Return the size of a joint vocabulary that a small model can learn from so many pairs."""
    return next(size for limit, size in ((10_000, 2000), (60_000, 4000), (10**12, 8000)) if training_pairs < limit)


def counts_of(folder: Path) -> dict[str, int] | None:
    """Return what an earlier preparation of this folder counted, or None if there was none."""
    return read_record(folder / COUNTS) if folder.exists() else None


def prepare(
    corpus: ParallelText, options: Mapping[str, Any], folder: Path, cut_source: int | None = None
) -> dict[str, int]:
    """Write `folder` with subwords.model and, for each split, raw text and pieces; all or nothing.

    Args:
        corpus: raw text.
        options: SentencePiece's trainer options.
        folder: where to.
        cut_source: every source, of training too, is cut to so many pieces.

    Returns:
        Counts: pairs per split, training pairs left out because they are too long, longer sentences cut.
    """
    if (counts := counts_of(folder)) is not None:
        return counts
    with all_or_nothing(folder) as partial:
        counts = write_pairs(corpus, options, partial, cut_source)
        write_record(partial / COUNTS, counts)
    return counts


def write_pairs(
    corpus: ParallelText, options: Mapping[str, Any], folder: Path, cut_source: int | None
) -> dict[str, int]:
    """Write what `prepare` is for."""
    for name, pairs in corpus.splits.items():
        for side, language in enumerate((corpus.source, corpus.target)):
            write_lines(folder / f"{name}.{language}", [pair[side] for pair in pairs])
    encode = train_subwords(folder, corpus, options)
    counts = {f"{name} pairs": len(pairs) for name, pairs in corpus.splits.items()} | {"left out": 0, "cut": 0}
    for name, pairs in corpus.splits.items():
        pieces = [(encode(source), encode(target)) for source, target in pairs]
        if cut_source is not None:
            counts["cut"] += sum(len(source) > cut_source for source, _ in pieces)
            pieces = [(source[:cut_source], target) for source, target in pieces]
        if name == "train":
            kept = [pair for pair in pieces if max(map(len, pair)) <= LONGEST_TRAINING_SENTENCE]
            counts["left out"], pieces = len(pieces) - len(kept), kept
        counts["cut"] += sum(max(map(len, pair)) > LONGEST_SENTENCE for pair in pieces)
        for side, language in enumerate((corpus.source, corpus.target)):
            write_lines(
                folder / f"{name}.pieces.{language}", [" ".join(pair[side][:LONGEST_SENTENCE]) for pair in pieces]
            )
    return counts


def train_subwords(folder: Path, corpus: ParallelText, options: Mapping[str, Any]):
    """Train joint SentencePiece subwords on both sides of the training text; returns the encoder."""
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
        reason = " ".join(str(error).split())
        raise UserError(
            f"SentencePiece refuses {options.get('vocab_size')} subwords for these {len(corpus.splits['train'])} "
            f"training pairs: set another --vocab-size ({reason})"
        ) from error
    processor = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    return lambda sentence: processor.encode(sentence, out_type=str)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write one sentence a line, UTF-8."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
