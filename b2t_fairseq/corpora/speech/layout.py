"""LibriSpeech's layout, and from it what `--task speech_to_text` reads: features, manifests, vocabulary, config.

ROOT/train-clean-100/19/198/19-198-0000.flac     SPLIT/speaker/chapter/ID.flac (or .wav, any rate, any channels)
ROOT/train-clean-100/19/198/19-198.trans.txt     "19-198-0000 NORTHANGER ABBEY", one line an utterance

python -m b2t_fairseq.corpora.speech.layout --data ROOT --output DATA --workers 8
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...common.command_line import Parser, guarded, positive
from ...common.errors import UserError
from ...common.files import replacing, write_atomically
from .archive import FOLDER, Summary, Utterance, extract_split
from .features import BINS, RATE, SUFFIXES
from .manifest import read_manifest
from .transcripts import words

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's, in the order of their numbers
LONGEST_TEXT = 1000  # characters: in pieces that is never more than fairseq's --max-target-positions, 1024
#: SpecAugment: the mildest and the strongest of the usual policies for LibriSpeech, and a gentle one for short clips
SPECAUGMENT = {
    "lb": {"freq_mask_N": 1, "freq_mask_F": 27, "time_mask_N": 1, "time_mask_T": 100, "time_mask_p": 1.0},
    "ld": {"freq_mask_N": 2, "freq_mask_F": 27, "time_mask_N": 2, "time_mask_T": 100, "time_mask_p": 1.0},
    "short": {"freq_mask_N": 1, "freq_mask_F": 10, "time_mask_N": 1, "time_mask_T": 8, "time_mask_p": 0.1},
    "none": {},
}


def find_splits(root: str | os.PathLike) -> list[str]:
    """Return the splits of a folder: training sets, those for validation, then the others; each in order of name.

    A folder with audio but without a transcript is not a split; a warning on stderr names it.

    Raises:
        UserError: the folder does not exist, or has no split.
    """
    root, names, untold = library(root), [], Counter()
    for path in sorted(root.iterdir()):
        if not path.is_dir():
            untold["the folder itself"] += is_audio(path.name)
        # any() stops at the first transcript: a whole corpus need not be walked through to know its splits
        elif any(is_transcript(name) for place, files in walk(path) if in_layout(place) for name in files):
            names.append(path.name)
        else:
            untold[path.name] += sum(is_audio(name) for _, files in walk(path) for name in files)
    if not names:
        raise UserError(
            f"{root} has no LibriSpeech layout: no SPLIT/speaker/chapter/*.trans.txt below it; name the folder that "
            "holds the splits"
        )
    if left_out := ", ".join(f"{name} ({count:,})" for name, count in untold.items() if count):
        print(f"{root}: audio files without any speaker/chapter/*.trans.txt are left out: {left_out}", file=sys.stderr)
    return sorted(names, key=lambda name: (0 if name.startswith("train") else 1 if is_validation(name) else 2, name))


def library(root: str | os.PathLike) -> Path:
    """Return the folder that holds the splits: `root` or, as its archives unpack, `root/LibriSpeech`."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name the one that holds LibriSpeech's splits")
    return root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root


def is_validation(split: str) -> bool:
    """Return whether it is dev-clean, dev-other, valid or the like."""
    return split.startswith(("dev", "val"))


def is_audio(name: str) -> bool:
    """Return whether a file's name ends as that of a recording."""
    return name.lower().endswith(SUFFIXES)


def is_transcript(name: str) -> bool:
    """Return whether a file's name ends as that of a transcript."""
    return name.lower().endswith(".trans.txt")


def in_layout(place: Path) -> bool:
    """Return whether a folder, named from that of its split, is speaker/chapter."""
    return len(place.parts) == 2


def walk(folder: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder of a split, named from there, and its audio files and transcripts, in order of name.

    One pass over the names: no file is opened or asked for its state. Links to folders are followed as far as the
    layout goes, so that a loop of links ends.
    """
    for path, subfolders, names in os.walk(folder, onerror=onerror, followlinks=True):
        place = Path(path).relative_to(folder)
        subfolders[:] = sorted(
            name for name in subfolders if len(place.parts) < 2 or not os.path.islink(os.path.join(path, name))
        )
        files = [name for name in names if is_audio(name) or is_transcript(name)]
        yield place, sorted(files, key=lambda name: (name.lower(), name))  # .flac before .wav and .WAV


def read_split(root: str | os.PathLike, split: str) -> tuple[list[Utterance], list[tuple[str, str]]]:
    """Return all utterances of a split in order of their folders, and (name, reason) of what does not go together.

    Left out: transcripts without audio and audio without a transcript, transcripts that are overlong or hold no word
    that an error rate would count, identifiers that occur twice, files beside the layout, transcript files that are
    not UTF-8, folders that cannot be read.
    """
    folder, utterances, skipped, seen = library(root) / split, [], [], set()

    def unreadable(error: OSError) -> None:
        skipped.append((os.path.relpath(error.filename, folder), f"this folder cannot be read: {error.strerror}"))

    for place, files in walk(folder, unreadable):
        if not in_layout(place):
            skipped += [(f"{place / name}", "not in a folder speaker/chapter of the split") for name in files]
            continue
        chapter, speaker, audio, transcribed = folder / place, place.parent.name, {}, set()
        for path in (chapter / name for name in files if is_audio(name)):
            used = audio.setdefault(path.stem, path)
            if used != path:
                skipped.append(
                    (path.stem, f"{path.name} is a second audio file of this identifier; {used.name} is used")
                )
        for transcript in (chapter / name for name in files if is_transcript(name)):
            try:
                lines = transcript.read_text(encoding="utf-8-sig").split("\n")
            except (UnicodeDecodeError, OSError) as error:
                skipped.append((transcript.name, f"cannot be read as UTF-8 text: {error}"))
                continue
            for name, _, text in (line.strip().partition(" ") for line in lines if line.strip()):
                transcribed.add(name)
                text = " ".join(text.lower().split())
                if name in seen:
                    skipped.append((name, "a second transcript with this identifier"))
                elif not text:
                    skipped.append((name, "its transcript is empty"))
                elif not words(text):  # one such reference would leave its whole test set without a score
                    skipped.append((name, f"its transcript holds nothing but punctuation: {text[:40]}"))
                elif len(text) > LONGEST_TEXT:
                    skipped.append((name, f"its transcript has {len(text)} characters, the most is {LONGEST_TEXT}"))
                elif name not in audio:
                    skipped.append((name, f"no audio {chapter.name}/{name}.flac or .wav"))
                else:
                    seen.add(name)
                    utterances.append(Utterance(name, audio[name], text, speaker))
        skipped += [(name, "audio without a transcript") for name in sorted(audio.keys() - transcribed)]
    return utterances, skipped


def prepare(
    root: str | os.PathLike,
    data: str | os.PathLike,
    vocab_size: int = 10_000,
    specaugment: str = "ld",
    splits: Sequence[str] | None = None,
    workers: int = 1,
) -> list[Summary]:
    """Prepare everything fairseq needs to train on a folder in LibriSpeech's layout.

    Writes into `data`, which can be moved later: features/SPLIT.zip and SPLIT.tsv for each split, spm.model, dict.txt
    (SentencePiece unigram pieces of the training text) and config.yaml (utterance CMVN; SpecAugment in training).

    Raises:
        UserError: there is nothing to train on, two splits share an utterance, or, when all else is done, a split lost
            all its utterances; if that is one for training, vocabulary and config.yaml are missing.
    """
    data, summaries, places = Path(data), [], {}
    splits = find_splits(root) if splits is None else splits
    if missing := [split for split in splits if not (library(root) / split).is_dir()]:
        raise UserError(f"{library(root)} has no split {', '.join(missing)}; it has {', '.join(find_splits(root))}")
    read = {split: read_split(root, split) for split in splits}
    for split, (utterances, _) in read.items():
        for utterance in utterances:
            if places.setdefault(utterance.id, split) != split:
                raise UserError(
                    f"utterance {utterance.id} is both in {places[utterance.id]} and in {split}: take one out"
                )
    if not any(split.startswith("train") and utterances for split, (utterances, _) in read.items()):
        raise UserError(
            f"{library(root)} has no training utterance: fairseq wants a split whose name begins with train"
        )
    data.mkdir(parents=True, exist_ok=True)
    for split, (utterances, skipped) in read.items():
        summaries.append(extract_split(split, utterances, skipped, data, workers))
        print(summaries[-1], file=sys.stderr)
    lost = [summary for summary in summaries if not summary.utterances]
    if not any(summary.split.startswith("train") for summary in lost):
        train_pieces(training_text(data, splits), data, vocab_size)
        write_config(data, specaugment)
    if lost:  # only now: hours of extraction are not given up for one bad split
        names = ", ".join(summary.split for summary in lost)
        reasons = ", ".join(
            f"{data / summary.split}.skipped.tsv" if summary.skipped else f"{summary.split} is empty"
            for summary in lost
        )
        raise UserError(f"no utterance of {names} can be used (why: {reasons}): fix these splits or take them out")
    return summaries


def training_text(data: Path, splits: Sequence[str]) -> list[str]:
    """Return the transcripts of what was kept for training."""
    rows = [row for split in splits if split.startswith("train") for row in read_manifest(data / f"{split}.tsv")]
    return [row["tgt_text"] for row in rows]


def train_pieces(sentences: Sequence[str], data: Path, size: int) -> None:
    """Write SentencePiece unigram pieces, `spm.model`, and fairseq's dictionary of them, `dict.txt`.

    A corpus that is too small for `size` pieces gets as many as it has.
    """
    import io

    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            num_threads=1,  # one order of counting, one result
            minloglevel=2,
            **{f"{kind}_id": number for number, kind in enumerate(("bos", "pad", "eos", "unk"))},
        )
    except (RuntimeError, OSError) as error:
        raise UserError(f"SentencePiece refuses {size} pieces: {' '.join(str(error).split())}") from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    with replacing(data / "spm.model") as temporary:
        temporary.write_bytes(model.getvalue())
    write_atomically(data / "dict.txt", "".join(f"{piece} 1\n" for piece in pieces if piece not in SPECIAL))


def write_config(data: Path, specaugment: str) -> None:
    """Write config.yaml, with paths relative to its own folder."""
    import yaml

    if specaugment not in SPECAUGMENT:
        raise UserError(f"there is no SpecAugment policy {specaugment}: choose from {', '.join(SPECAUGMENT)}")
    masks = SPECAUGMENT[specaugment]
    training = ["utterance_cmvn", *(["specaugment"] if masks else [])]
    config = {
        "audio_root": FOLDER,
        "vocab_filename": "dict.txt",
        "bpe_tokenizer": {"bpe": "sentencepiece", "sentencepiece_model": "spm.model"},
        "input_feat_per_channel": BINS,
        "input_channels": 1,
        "sample_rate": RATE,
        "feature_transforms": {"_train": training, "*": ["utterance_cmvn"]},
        **({"specaugment": {"time_warp_W": 0, **masks}} if masks else {}),
    }
    write_atomically(data / "config.yaml", yaml.safe_dump(config, sort_keys=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare a folder in LibriSpeech's layout."""
    parser = Parser(prog="python -m b2t_fairseq.corpora.speech.layout", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add(
        "--data",
        required=True,
        metavar="ROOT",
        help="folder with the splits: SPLIT/speaker/chapter/*.flac, *.trans.txt",
    )
    add("--output", required=True, metavar="DATA", help="folder for features, manifests, vocabulary and config.yaml")
    add("--splits", metavar="A,B", help="splits to prepare (default: all that are there)")
    add("--vocab-size", type=positive, default=10_000, metavar="N", help="SentencePiece pieces (default: %(default)s)")
    add("--specaugment", default="ld", choices=SPECAUGMENT, help="policy in training (default: %(default)s)")
    add("--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)")
    options = parser.parse_args(arguments)
    splits = [name.strip() for name in options.splits.split(",")] if options.splits else None
    if options.vocab_size <= len(SPECIAL):
        raise UserError(f"--vocab-size {options.vocab_size}: must be at least {len(SPECIAL) + 1}")
    prepare(options.data, options.output, options.vocab_size, options.specaugment, splits, options.workers)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
