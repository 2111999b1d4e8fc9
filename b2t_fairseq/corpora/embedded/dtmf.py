"""Dialling tones: each digit is a sum of two sines (ITU-T Q.23), each utterance a number being dialled, with noise.

A speech corpus of a few seconds' making, in LibriSpeech's layout, the same for the same seed. Every caller dials at a
pace, a level and a twist (one tone louder than the other) of their own, over a line with noise and hum of its own.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...common.optional import require
from ..speech.features import RATE

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz
TONES = {"1": (0, 0), "2": (0, 1), "3": (0, 2), "4": (1, 0), "5": (1, 1), "6": (1, 2), "7": (2, 0), "8": (2, 1)} | {
    "9": (2, 2),
    "0": (3, 1),
}
SIZES = {"train": 2400, "valid": 150, "test": 300}
CALLERS = {"train": 24, "valid": 5, "test": 6}  # no caller is in two splits


def generate(folder: str | Path, sizes: Mapping[str, int] = SIZES, seed: int = 1) -> None:
    """Write `folder/SPLIT/caller/number/ID.flac` and the transcripts.

    Args:
        folder: created; what is in it stays.
        sizes: utterances per split.
        seed: of everything drawn.
    """
    first = 0
    for split, size in sizes.items():
        callers = min(CALLERS.get(split, 4), size)
        for place in range(callers):
            caller = first + place
            share = range(place, size, callers)
            rng = np.random.default_rng((seed, caller))
            line = draw_line(rng)
            numbers = ["".join(rng.choice(list(TONES), size=rng.integers(3, 8))) for _ in share]
            write_chapter(
                Path(folder) / split / f"{caller}" / "0", [(number, dial(number, line, rng)) for number in numbers]
            )
        first += callers


def draw_line(rng: np.random.Generator) -> dict[str, float]:
    """Draw a caller and a line: pace, loudness, twist in dB, deviation of tones, signal-to-noise ratio in dB, hum."""
    return {
        "pace": rng.uniform(0.75, 1.3),
        "level": 10 ** (rng.uniform(-26, -6) / 20),
        "twist": rng.uniform(-5, 5),
        "deviation": rng.uniform(-0.012, 0.012),
        "noise": rng.uniform(6, 25),
        "hum": rng.uniform(0, 0.3),
    }


def dial(number: str, line: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Return the waveform (samples,) of a number."""
    silence = lambda low, high: np.zeros(int(RATE * rng.uniform(low, high) / line["pace"]))  # noqa: E731
    parts = [silence(0.03, 0.12)]
    for digit in number:
        time = np.arange(int(RATE * rng.uniform(0.07, 0.14) / line["pace"])) / RATE
        tone = np.zeros_like(time)
        for frequencies, place, gain in zip((ROWS, COLUMNS), TONES[digit], (0.5, -0.5), strict=True):
            frequency = frequencies[place] * (1 + line["deviation"])
            phase = rng.uniform(0, 2 * np.pi)
            tone += 10 ** (gain * line["twist"] / 20) * np.sin(2 * np.pi * frequency * time + phase)
        parts += [tone / 2, silence(0.06, 0.14)]
    wave = np.concatenate(parts)
    time = np.arange(len(wave)) / RATE
    noise = rng.normal(size=len(wave)) * 10 ** (-line["noise"] / 20) / 2
    wave = wave + noise + line["hum"] * 0.2 * np.sin(2 * np.pi * 50 * time)
    return np.clip(line["level"] * wave, -1, 1).astype(np.float32)


def words(number: str) -> str:
    """Spell a number: `407` -> `four zero seven`."""
    return " ".join(WORDS[int(digit)] for digit in number)


def write_chapter(folder: Path, recordings: list[tuple[str, np.ndarray]]) -> None:
    """Write (digits, waveform) recordings as FLAC files with a transcript: one chapter of LibriSpeech's layout."""
    soundfile = require("soundfile", "speech", "dialling tones")
    folder.mkdir(parents=True, exist_ok=True)
    speaker, chapter = folder.parent.name, folder.name
    lines = []
    for place, (number, wave) in enumerate(recordings):
        name = f"{speaker}-{chapter}-{place:04d}"
        soundfile.write(folder / f"{name}.flac", wave, RATE, subtype="PCM_16")
        lines.append(f"{name} {words(number).upper()}\n")
    (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
