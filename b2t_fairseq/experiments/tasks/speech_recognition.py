"""Speech recognition: LibriSpeech, dialling tones, spoken digits or your own audio; word and character errors."""

import argparse
import hashlib
import shutil
import sys
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import all_or_nothing, write_record
from ...corpora import librispeech, spoken_digits
from ...corpora.embedded import dtmf
from ...corpora.speech import layout
from ...corpora.speech.archive import SHOWN_REASONS
from ...corpora.speech.manifest import COLUMNS, read_manifest, write_table
from ...evaluation.paired import paired_bootstrap, signature
from ...evaluation.score import Score
from ...evaluation.wer import error_rates, read_recognised, word_error_rate, word_errors
from ..jobs.progress import sentence_counter
from ..jobs.runner import fingerprint
from ..text_data import COUNTS, counts_of
from .base import Corpus, Counter, Scores, Shape, Task

CORPUS_SEED = 1
HASHED_BYTES = 2**30  # of audio; more is not read only to recognise it
COUNTED_TRANSCRIPTS = 20_000  # for the unigram level
LONGEST_CONSTANT = 20  # words
UNUSABLE = "recordings.skipped.tsv"  # beside the splits' own lists, in the data folder


class SpeechRecognition(Task):
    """`--task asr`.

    Attributes:
        source: where the audio is: None for the embedded dialling tones, a folder or an archive.
        held_out: the speaker of spoken digits that training never hears, or None for another corpus.
    """

    name = "asr"
    architecture_stem = "s2t_transformer"
    metrics = ("WER", "CER")
    extra = "speech"
    recipe_name = "speech.yaml"
    blocks = ("features", "train", "average", "generate")
    layers = "6-6"
    output = "runs/asr"
    summary = "speech recognition, 6-6 layers, synthetic dialling tones; word error rate"
    reads = "a folder in LibriSpeech's layout, or spoken digits DIGIT_SPEAKER_INDEX.wav"
    corpora = (
        Corpus(
            "librispeech",
            librispeech,
            depths=("6-6", "12-6"),
            default_depth="12-6",
            tests=("dev-clean", "dev-other", "test-clean", "test-other"),
            metrics=("WER",),
            # frames are subsampled by 4; two convolutions of width 5: 80 -> 1024 -> (gated) 512 -> 1024
            shape=Shape(
                512, 2048, 320, 45, 0.25, 0.035, 5 * 80 * 1024 * 2 + 5 * 512 * 1024, 10_000 * 512, 10_000 * 512
            ),
            folder="data",
            published_cost={"6-6": (32, 22), "12-6": (32, 34)},
        ),
    )

    @classmethod
    def score_output(cls, output: Path, references: Sequence[str], is_published: bool = False) -> dict[str, Score]:
        """Score generate's output by word and character error rates."""
        return error_rates(read_recognised(output, references), references)

    @classmethod
    def sentence_counter(cls) -> Counter:
        """Count the `D-` lines that generate prints."""
        return sentence_counter()

    @classmethod
    def read_hypotheses(cls, output: Path, references: Sequence[str]) -> list[str]:
        """Return what was recognised, in the order of the references."""
        return read_recognised(output, references)

    @classmethod
    def target_counts(cls, data: Path, training: Mapping[str, Any]) -> Any:
        """Count the pieces of the first training set's transcripts, and their ends."""
        import numpy
        import sentencepiece

        first = str(training["train-subset"]).split(",")[0]
        rows = read_manifest(data / f"{first}.tsv")[:COUNTED_TRANSCRIPTS]
        model = sentencepiece.SentencePieceProcessor(model_file=str(data / "spm.model"))
        pieces = Tally(piece for row in rows for piece in model.encode(row["tgt_text"]))
        return numpy.array([*pieces.values(), len(rows)])

    @classmethod
    def paired_test(cls, first: Sequence[str], second: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
        """Return p of a paired bootstrap of the word error rate over the utterances."""
        return paired_bootstrap(word_errors(first, references), word_errors(second, references)), f"WER|{signature()}"

    @staticmethod
    def add_options(add) -> None:
        add(
            "--vocab-size", type=int, metavar="N", help="SentencePiece pieces (default: the recipe's, or by the corpus)"
        )
        add("--held-out", metavar="SPEAKER", help="of spoken digits: who is only in the test set (default: the last)")

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        known = {"vocab-size", "specaugment"}
        if set(options.recipe["features"]) != known:
            raise UserError(f"recipe {options.config}: block 'features' must hold {' and '.join(sorted(known))}")
        self.held_out = None
        self.source = Path(options.data) if options.data else None
        digits = spoken_digits.find(self.source) if self.source else None
        if digits:
            self.source, speakers = digits, spoken_digits.speakers(digits)
            self.held_out = options.held_out or max(speakers, default=None)
            if self.held_out not in speakers:
                raise UserError(f"{digits} has no speaker {self.held_out}; it has {', '.join(speakers) or 'none'}")
        elif options.held_out:
            raise UserError(
                "--held-out names a speaker of spoken digits, DIGIT_SPEAKER_INDEX.wav: name them with --data"
            )
        self.splits = self.find_splits()
        self.tests = [name for name in self.splits if not name.startswith("train") and not layout.is_validation(name)]
        for kind, splits in (("train", self.training), ("dev or valid", self.validation), ("test", self.tests)):
            if not splits:
                raise UserError(f"{self.source} has no {kind} split: the quickstart needs one for each purpose")

    def find_splits(self) -> list[str]:
        """Return the names of all splits, as the manifests will have them."""
        if self.held_out:
            return ["train", "valid", "test-known", f"test-{self.held_out}"]
        return layout.find_splits(self.source) if self.source else list(dtmf.SIZES)

    @property
    def training(self) -> list[str]:
        return [name for name in self.splits if name.startswith("train")]

    @property
    def validation(self) -> list[str]:
        return [name for name in self.splits if layout.is_validation(name)]

    @cached_property
    def vocabulary(self) -> int:
        """Return how many pieces: digits need few; otherwise by the number of transcripts."""
        if self.options.vocab_size:
            return self.options.vocab_size
        if self.source is None or self.held_out:
            return self.options.recipe["features"]["vocab-size"]
        transcripts = sum(len(layout.read_split(self.source, name)[0]) for name in self.training)
        return next(size for limit, size in ((5_000, 300), (50_000, 2_000), (10**12, 10_000)) if transcripts < limit)

    def corpus_line(self) -> str:
        if self.source is None:
            corpus = f"dialling tones of the package, {dtmf.SIZES['train']} utterances, seed {CORPUS_SEED}"
        elif self.held_out:
            corpus = f"{self.source}: spoken digits, {self.held_out} held out, seed {CORPUS_SEED}"
        else:
            corpus = str(self.source)
        mask = self.options.recipe["features"]["specaugment"]
        return f"{corpus} -> 80 log-mel filter banks, SentencePiece (unigram, {self.vocabulary}), SpecAugment {mask}"

    @property
    def files(self) -> list[Path]:
        """Return the user's files; none for the embedded corpus."""
        if self.source is None:
            return []
        return [self.source] if self.source.is_file() else sorted(filter(Path.is_file, self.source.rglob("*")))

    def preparation(self) -> tuple[str, ...]:
        """Return how the audio is prepared."""
        features = repr(sorted(self.options.recipe["features"].items()))
        corpus = spoken_digits.MAKING if self.held_out else f"seed {CORPUS_SEED}" if self.source is None else ""
        return str(self.held_out), corpus, str(self.vocabulary), features

    def content(self) -> str:
        """Hash the files' names, sizes and bytes; of large corpora, which take minutes to read, names and sizes."""
        states = [(file.name, file.stat().st_size) for file in self.files]
        if sum(size for _, size in states) < HASHED_BYTES:
            states = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in self.files]
        return fingerprint(repr(states), *self.preparation())

    def fingerprint(self) -> str:
        """Hash the files' places, sizes and times, which is quick for any corpus."""
        states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return fingerprint(repr(states), *self.preparation())

    def prepare(self, folder: Path) -> Mapping[str, int]:
        if (counts := counts_of(folder)) is not None:
            return counts
        with all_or_nothing(folder, resumes=True) as partial:  # features of an earlier start are used again
            counts = self.write_data(partial)
            write_record(partial / COUNTS, counts)
        return counts

    def write_data(self, folder: Path) -> dict[str, int]:
        """Write features, manifests, vocabulary and config.yaml; return what was counted."""
        raw, unusable = self.write_raw(folder / "raw")
        if unusable:
            write_table(folder / UNUSABLE, ("name", "reason"), unusable)
            first = "; ".join(f"{name} ({reason})" for name, reason in unusable[:SHOWN_REASONS])
            print(f"recordings: {len(unusable):,} left out: {first}; all in {UNUSABLE}", file=sys.stderr)
        masks = self.options.recipe["features"]["specaugment"]
        summaries = layout.prepare(raw, folder, self.vocabulary, masks, self.splits)
        if self.validation != ["valid"]:  # one validation set, one curve
            rows = [row for name in self.validation for row in read_manifest(folder / f"{name}.tsv")]
            write_table(folder / "valid.tsv", COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
        counts = {f"{summary.split} utterances": summary.utterances for summary in summaries}
        counts["left out"] = sum(len(summary.skipped) for summary in summaries) + len(unusable)
        return counts

    def write_raw(self, folder: Path) -> tuple[Path, Sequence[tuple[str, str]]]:
        """Write the corpus in LibriSpeech's layout, if it has another; return the folder and what was left out."""
        if self.source is not None and not self.held_out:
            return self.source, []
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier start that was interrupted
        if self.source is None:
            dtmf.generate(folder, seed=CORPUS_SEED)
            return folder, []
        return folder, spoken_digits.build(self.source, folder, self.held_out, CORPUS_SEED)

    def preprocess(self, folder: Path) -> list[str]:
        return []

    def train(self, folder: Path) -> tuple[list[str], list[str]]:
        return [str(folder)], ["--train-subset", ",".join(self.training), "--valid-subset", "valid"]

    def subset(self, folder: Path, test: str) -> tuple[Path, str, list[str]]:
        """Return what evaluates a test set: the prepared folder and the set's own name."""
        return folder, test, []

    def references(self, folder: Path, test: str) -> list[str]:
        """Return the transcripts of a test set; none before `prepare`."""
        return texts(folder, test) if (folder / f"{test}.tsv").exists() else []

    def baselines(self, folder: Path) -> Mapping[str, Mapping[str, Scores]]:
        """Score the constant answer that does best on the validation set."""
        train = [text for name in self.training for text in texts(folder, name)]
        answer = best_constant(train, texts(folder, "valid"))
        spoken = {test: texts(folder, test) for test in self.tests}
        scores = {test: error_rates([answer] * len(references), references) for test, references in spoken.items()}
        return {"best constant answer": scores}


def texts(folder: Path, split: str) -> list[str]:
    """Return what is said in a split."""
    return [row["tgt_text"] for row in read_manifest(folder / f"{split}.tsv")]


def best_constant(train: Sequence[str], valid: Sequence[str]) -> str:
    """Return the commonest transcript or the commonest word some times over: what has the least errors on `valid`."""
    word = Tally(word for text in train for word in text.split()).most_common(1)[0][0]
    candidates = [Tally(train).most_common(1)[0][0], *(" ".join([word] * n) for n in range(1, LONGEST_CONSTANT))]
    return min(candidates, key=lambda answer: word_error_rate([answer] * len(valid), valid).score)
