"""Features of many audio files as fairseq's speech tasks read them: one uncompressed zip and one manifest a split.

A file that cannot be used never ends the work: it is left out, and the split's `skipped.tsv` says why.
"""

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...common.files import read_record, replacing, write_record
from .features import AudioError, speech_features
from .file_workers import in_processes
from .manifest import COLUMNS, write_table

FOLDER = "features"  # of the zips, inside the data folder
SHORTEST = 5  # frames, as in fairseq's recipes; for training and test sets alike
LONGEST_IN_TRAINING = 3000  # frames
LONGEST = 6000  # frames, fairseq's --max-source-positions
SHOWN_REASONS = 5


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it; whitespace in the text is single spaces."""

    id: str
    audio: Path
    text: str
    speaker: str


@dataclass
class Summary:
    """What became of one split: how many utterances and frames were stored, and which were left out, with reasons."""

    split: str
    utterances: int
    frames: int
    skipped: list[tuple[str, str]]

    def __str__(self) -> str:
        hours = self.frames / 360_000
        kept = f"{self.split}: {self.utterances:,} utterances, {hours:.2f} hours"
        if not self.skipped:
            return kept
        first = "; ".join(f"{name} ({reason})" for name, reason in self.skipped[:SHOWN_REASONS])
        more = f"; … all in {self.split}.skipped.tsv" if len(self.skipped) > SHOWN_REASONS else ""
        return f"{kept}; {len(self.skipped):,} left out: {first}{more}"


def extract_split(
    split: str, utterances: Sequence[Utterance], skipped: Sequence[tuple[str, str]], data: Path, workers: int
) -> Summary:
    """Write `data/features/SPLIT.zip`, `data/SPLIT.tsv` and, if any was left out, `data/SPLIT.skipped.tsv`.

    A split that is there already, made from the same files and texts, is kept.

    Args:
        split: its name; one that begins with "train" loses utterances longer than 3,000 frames, others than 6,000.
        utterances: what to extract.
        skipped: (name, reason) of what the reader of the corpus has left out before.
        data: the data folder.
        workers: processes; 1 works in this one.
    """
    (data / FOLDER).mkdir(parents=True, exist_ok=True)
    record, archive = data / FOLDER / f"{split}.json", data / FOLDER / f"{split}.zip"
    stamp = fingerprint(utterances, skipped)
    if archive.exists() and (data / f"{split}.tsv").exists() and (summary := read_summary(record, stamp)):
        return summary
    limit = LONGEST_IN_TRAINING if split.startswith("train") else LONGEST
    rows, left_out, frames = [], list(skipped), 0
    with replacing(archive) as temporary, ZipOfFeatures(temporary) as features:
        for utterance, result in zip(utterances, extracted(utterances, split, workers), strict=True):
            reason = result if isinstance(result, str) else length_is_wrong(len(result), limit)
            if reason:
                left_out.append((utterance.id, reason))
                continue
            offset, size = features.add(utterance.id, result)
            frames += len(result)
            place = f"{archive.name}:{offset}:{size}"
            rows.append((utterance.id, place, len(result), utterance.text, utterance.speaker))
    write_table(data / f"{split}.tsv", COLUMNS, rows)
    if left_out:
        write_table(data / f"{split}.skipped.tsv", ("name", "reason"), left_out)
    else:
        (data / f"{split}.skipped.tsv").unlink(missing_ok=True)
    summary = Summary(split, len(rows), frames, left_out)
    write_record(record, {"fingerprint": stamp, **asdict(summary)})
    return summary


def read_summary(record: Path, stamp: str) -> Summary | None:
    """Return what became of a split when it was extracted before, if it was from the same files and texts."""
    known = read_record(record, fingerprint=str, split=str, utterances=int, frames=int, skipped=list)
    if known is None or known["fingerprint"] != stamp:
        return None
    with contextlib.suppress(TypeError, ValueError):
        skipped = [(str(name), str(reason)) for name, reason in known["skipped"]]
        return Summary(known["split"], known["utterances"], known["frames"], skipped)
    return None


def length_is_wrong(frames: int, limit: int) -> str | None:
    """Return why an utterance of so many frames is left out, or None."""
    if frames < SHORTEST:
        return f"too short: {frames} frames, the least is {SHORTEST}"
    return f"too long: {frames} frames, the most is {limit}" if frames > limit else None


def extracted(utterances: Sequence[Utterance], split: str, workers: int) -> Iterator[np.ndarray | str]:
    """Yield for each utterance its features (frames, 80), or why there are none; a bar shows the progress."""
    from tqdm import tqdm

    paths = [utterance.audio for utterance in utterances]
    bar = {"desc": f"features of {split}", "unit": " files", "total": len(paths), "mininterval": 1}
    if workers == 1 or len(paths) < 2 * workers:
        yield from tqdm(map(features_or_reason, paths), **bar)
        return
    yield from tqdm(in_processes(features_or_reason, paths, workers), **bar)


def features_or_reason(path: Path) -> np.ndarray | str:
    """Return the features of one file, or what is wrong with it: no file may end the extraction of all others."""
    try:
        return speech_features(path)
    except AudioError as error:
        return str(error)
    except Exception as error:  # of a library's, whatever it is
        return f"{path}: {type(error).__name__}: {' '.join(str(error).split())}"


class ZipOfFeatures:
    """An uncompressed zip of .npy members, whose data fairseq reads by offset and size without opening the zip."""

    def __init__(self, path: Path):
        self.file = open(path, "wb")  # noqa: SIM115 (closed by __exit__)
        self.archive = zipfile.ZipFile(self.file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> "ZipOfFeatures":
        return self

    def __exit__(self, *exception) -> None:
        self.archive.close()
        self.file.close()

    def add(self, name: str, features: np.ndarray) -> tuple[int, int]:
        """Store one array; return the offset and the size of its bytes in the file."""
        buffer = io.BytesIO()
        np.save(buffer, features)
        member = zipfile.ZipInfo(f"{name}.npy")  # a fixed date: the same features give the same file
        self.archive.writestr(member, buffer.getbuffer())
        return self.file.tell() - buffer.getbuffer().nbytes, buffer.getbuffer().nbytes


def fingerprint(utterances: Sequence[Utterance], skipped: Sequence[tuple[str, str]]) -> str:
    """Return a text that changes when a name, a text, a file's size or its time of change does, or a limit of ours."""
    content = hashlib.sha256(repr((SHORTEST, LONGEST_IN_TRAINING, LONGEST, list(skipped))).encode())
    for utterance in utterances:
        try:
            status = os.stat(utterance.audio)
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = ()
        content.update(repr((utterance.id, utterance.text, utterance.speaker, state)).encode())
    return content.hexdigest()[:16]
