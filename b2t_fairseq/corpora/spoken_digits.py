"""Spoken digits, joined into numbers: from single recordings to a connected-digit corpus in LibriSpeech's layout.

The recordings are files `{digit}_{speaker}_{index}.wav`, as in the Free Spoken Digit Dataset, in a folder or a tar
archive. One speaker is held out of training altogether. Of the others, recordings 0-4 of each digit make a second test
set and 5-9 the validation set.
"""

import os
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..common.errors import UserError
from .embedded.dtmf import write_chapter
from .fetching.extract import open_tar
from .speech.features import RATE, AudioError, change_speed, read_audio

NAME = re.compile(r"([0-9])_([^_/]+)_(\d+)\.(?i:wav|flac)")
LARGEST = 2**31  # bytes that an archive may unpack to
SPEEDS = (Fraction(9, 10), Fraction(1), Fraction(11, 10))
ROOM = 30  # dB from the words down to the noise that is laid under a whole number, pauses included
NUMBERS = range(3, 8)  # digits of an utterance
# How often a training recording is used, in other company and at another speed each time, and in numbers of how many
# digits: single words show a model what a digit sounds like before it has learnt where in a number to listen.
TRAINING_TURNS = (range(1, 3), NUMBERS, NUMBERS, NUMBERS)
MAKING = repr((SPEEDS, ROOM, NUMBERS, TRAINING_TURNS))  # what the corpus depends on besides its recordings
Recordings = Mapping[str, Mapping[str, Sequence[Path]]]  # speaker -> digit -> files, in order of their index


def find(folder: str | os.PathLike) -> Path | None:
    """Return where spoken digits are: `folder` itself, its `fsdd`, or an archive `recordings.tar*` in either."""
    for place in (Path(folder), Path(folder) / "fsdd", Path(folder) / "recordings"):
        if place.is_file() and tarfile.is_tarfile(place):
            return place
        if place.is_dir():
            archives = sorted(place.glob("recordings.tar*"))
            if archives or any(NAME.fullmatch(path.name) for path in place.iterdir()):
                return archives[0] if archives else place
    return None


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the recordings of a tar archive into one flat folder.

    Only regular files named like recordings are written, under their last name alone, so no path in the archive,
    however it is written, leads anywhere else.

    Raises:
        UserError: the archive is damaged, or too large when unpacked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    try:
        with open_tar(archive) as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if not member.isfile() or not NAME.fullmatch(name):
                    continue
                total += member.size
                if max(total, tar.offset) > LARGEST:
                    raise UserError(f"{archive} unpacks to more than {LARGEST >> 20} MiB: unpack it yourself")
                with tar.extractfile(member) as source, open(folder / name, "wb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} cannot be unpacked ({error}): fetch it again") from error


def recordings(folder: Path) -> Recordings:
    """Return the files of a folder by speaker and digit."""
    by_speaker: dict[str, dict[str, list[tuple[int, Path]]]] = {}
    for path in folder.iterdir():
        if match := NAME.fullmatch(path.name):
            digit, speaker, index = match.groups()
            by_speaker.setdefault(speaker, {}).setdefault(digit, []).append((int(index), path))
    return {
        speaker: {digit: [path for _, path in sorted(files)] for digit, files in sorted(digits.items())}
        for speaker, digits in sorted(by_speaker.items())
    }


def build(
    source: str | os.PathLike, folder: str | os.PathLike, held_out: str | None = None, seed: int = 1
) -> list[tuple[str, str]]:
    """Write the splits train, valid, test-known and test-SPEAKER below `folder`.

    Args:
        source: a folder of recordings or a tar archive of them.
        folder: where the corpus goes.
        held_out: the speaker of the second test set; the last in alphabetical order if None.
        seed: of the order, the lengths, the pauses and the speeds.

    Returns:
        What was left out: (name, reason) of each recording that cannot be used.

    Raises:
        UserError: too few speakers or recordings, or no such speaker.
    """
    source, folder = Path(source), Path(folder)
    if source.is_file():
        unpack(source, folder / "recordings")
        source = folder / "recordings"
    by_speaker = recordings(source)
    if len(by_speaker) < 2:
        raise UserError(
            f"{source} needs recordings DIGIT_SPEAKER_INDEX.wav of at least 2 speakers; it has {len(by_speaker)}"
        )
    held_out = held_out or max(by_speaker)
    if held_out not in by_speaker:
        raise UserError(f"{source} has no speaker {held_out}; it has {', '.join(by_speaker)}")
    bad: list[tuple[str, str]] = []
    for speaker, digits in by_speaker.items():
        # a stream of its own for each speaker and split: another speaker more changes nothing for these
        parts = {f"test-{held_out}": slice(None)} if speaker == held_out else TRAINING_SPEAKER
        for place, (split, part) in enumerate(parts.items()):
            chosen = [(digit, path) for digit, files in digits.items() for path in files[part]]
            rng = np.random.default_rng([seed, place, *speaker.encode()])
            waves = []
            for digit, path in chosen:
                try:
                    waves.append((digit, trim(read_audio(path))))
                except AudioError as error:
                    bad.append((path.name, str(error).removeprefix(f"{path}: ")))
            joined = [
                number
                for turn, lengths in enumerate(TRAINING_TURNS if split == "train" else (NUMBERS,))
                for number in join(waves, rng, SPEEDS if turn else (Fraction(1),), lengths)
            ]
            if joined:
                write_chapter(folder / split / speaker / str(place), joined)
    if lacking := [split for split in ("train", "valid", f"test-{held_out}") if not (folder / split).is_dir()]:
        unusable = f"; {len(bad)} cannot be used, the first is {bad[0][0]} ({bad[0][1]})" if bad else ""
        raise UserError(
            f"{source} has too few recordings: none is left for {lacking[0]} (it takes 11 of each digit){unusable}"
        )
    return sorted(set(bad))


TRAINING_SPEAKER = {"train": slice(10, None), "valid": slice(5, 10), "test-known": slice(0, 5)}


def trim(wave: np.ndarray, below: float = 0.02) -> np.ndarray:
    """Return a recording without the near-silence around the word; 20 ms are left on either side."""
    loud = np.flatnonzero(np.abs(wave) > below * np.abs(wave).max(initial=0))
    margin = RATE // 50
    return wave[max(0, loud[0] - margin) : loud[-1] + margin] if len(loud) else wave


def with_room(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the waveform with faint noise under it.

    Pauses of digital silence, whose log-mel energies are minus infinity but for a floor, would rule the mean and the
    deviation by which every utterance is normalised; and so would the upper bins of recordings made at 8 kHz.
    """
    loudness = np.sqrt(np.mean(np.square(wave[wave != 0], dtype=np.float64))) if wave.any() else 0.0
    return (wave + rng.normal(scale=loudness * 10 ** (-ROOM / 20) + 1e-5, size=len(wave))).astype(np.float32)


def join(
    waves: Sequence[tuple[str, np.ndarray]],
    rng: np.random.Generator,
    speeds: Sequence[Fraction],
    lengths: Sequence[int] = NUMBERS,
):
    """Yield numbers of so many digits as (digits, waveform), which use each recording once, in random order."""
    order = list(rng.permutation(len(waves)))
    while order:
        taken = [waves[order.pop()] for _ in range(min(len(order), rng.choice(lengths)))]
        speed = speeds[rng.integers(len(speeds))]
        parts = []
        for _, wave in taken:
            parts += [wave, np.zeros(int(RATE * rng.uniform(0.04, 0.15)), np.float32)]
        whole = with_room(np.concatenate(parts), rng)
        yield "".join(digit for digit, _ in taken), whole if speed == 1 else change_speed(whole, speed)


def speakers(source: str | os.PathLike) -> list[str]:
    """Return the speakers of a folder of recordings or of a tar archive, in alphabetical order."""
    source = Path(source)
    try:
        names = [path.name for path in source.iterdir()] if source.is_dir() else tarfile.open(source).getnames()  # noqa: SIM115
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{source} cannot be unpacked ({error}): fetch it again") from error
    return sorted({match[2] for name in names if (match := NAME.fullmatch(name.rpartition("/")[2]))})
