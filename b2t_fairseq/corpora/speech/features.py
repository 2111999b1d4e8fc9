"""From an audio file to 80-dimensional Kaldi log-mel filter banks, as fairseq S2T's recipes compute them.

Waveforms are float32 in [-1, 1], mono, at 16 kHz; Kaldi's frames are 25 ms long, one every 10 ms, with a Povey window,
pre-emphasis 0.97, no dither, power spectra and mel bins from 20 Hz to 8 kHz.
"""

import functools
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...common.errors import UserError
from ...common.optional import require

RATE = 16_000  # samples a second, of all that the models hear
BINS = 80
WINDOW = RATE * 25 // 1000  # samples in a frame
SHIFT = RATE * 10 // 1000  # samples from one frame to the next
SUFFIXES = (".flac", ".wav")
SLOWEST, FASTEST = 1_000, 768_000  # samples a second of a file
LONGEST = 1 << 28  # samples of a file in one channel: 4.6 hours at 16 kHz, 1.5 at 48 kHz; 1 GB of memory
BLOCK = 1 << 20  # samples of all channels that are read at a time
_OF_UNKNOWN_SIZE = (0, 0xFFFFFFFF)  # what a program writes into a WAV header before it knows the length


class AudioError(UserError):
    """What is wrong with one audio file."""


def read_audio(path: str | os.PathLike) -> np.ndarray:
    """Read a WAV or FLAC file of any sample rate and number of channels as a waveform (samples,) at 16 kHz.

    Raises:
        AudioError: not audio, empty, cut off, too long (`LONGEST`), of a rate that is not from 1 to 768 kHz, or with
            samples that are not numbers.
    """
    soundfile = require("soundfile", "speech", "audio files")
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty")
    try:
        with soundfile.SoundFile(path) as file:
            announced, rate = file.frames, file.samplerate
            if not SLOWEST <= rate <= FASTEST:
                raise AudioError(f"{path}: {rate:,} samples a second: the rate must be from {SLOWEST:,} to {FASTEST:,}")
            samples = read_mono(file, path)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = " ".join(str(error).partition(": ")[2].split()) or "unreadable"
        raise AudioError(f"{path}: not an audio file that can be read ({reason.rstrip('.')})") from None
    if len(samples) < announced or wav_is_cut(path):
        raise AudioError(f"{path}: the file is cut off: its header announces more audio than it holds")
    if len(samples) == 0:
        raise AudioError(f"{path}: holds no audio (0 samples)")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: some of its samples are not finite numbers")
    return resample(samples, rate)


def read_mono(file, path: Path) -> np.ndarray:
    """Read the mean of all channels (samples,) as far as there are any: what a header announces is not believed.

    Raises:
        AudioError: there are more than `LONGEST`.
    """
    blocks, total = [], 0
    size = max(1, BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):  # (samples, channels)
        total += len(block)
        if total > LONGEST:
            raise AudioError(f"{path}: longer than {LONGEST:,} samples, {LONGEST / file.samplerate / 60:.0f} minutes")
        blocks.append(block.mean(axis=1))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def wav_is_cut(path: Path) -> bool:
    """Return whether a WAV file is shorter than its header says; libsndfile reads what there is without a word."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return False
    announced = int.from_bytes(head[4:8], "little")
    return announced not in _OF_UNKNOWN_SIZE and announced + 8 > path.stat().st_size + 1  # + 1: a missing pad byte


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Resample a waveform (samples,) from `rate` to 16 kHz."""
    if rate == RATE:
        return waveform
    return change_speed(waveform, Fraction(rate, RATE))


def change_speed(waveform: np.ndarray, factor: Fraction) -> np.ndarray:
    """Return the waveform (samples,) played `factor` times as fast, by scipy's polyphase filter."""
    signal = require("scipy.signal", "speech", "audio files that are not at 16 kHz")
    return signal.resample_poly(waveform, factor.denominator, factor.numerator).astype(np.float32)


def filter_banks(waveform: np.ndarray) -> np.ndarray:
    """Return log-mel filter banks (frames, 80) of a waveform (samples,) at 16 kHz; 0 frames if shorter than 25 ms."""
    if len(waveform) < WINDOW:
        return np.zeros((0, BINS), np.float32)
    return backend()(np.asarray(waveform, np.float32) * 2**15)  # Kaldi's recipes read 16-bit integers


def speech_features(path: str | os.PathLike) -> np.ndarray:
    """Return log-mel filter banks (frames, 80) of an audio file.

    Raises:
        AudioError: what `read_audio` raises, or the audio is shorter than one frame.
    """
    waveform = read_audio(path)
    features = filter_banks(waveform)
    if len(features) == 0:
        raise AudioError(f"{path}: too short ({1000 * len(waveform) / RATE:.0f} ms; one frame takes 25 ms)")
    return finite(features, path)


def finite(features: np.ndarray, name: str | os.PathLike) -> np.ndarray:
    """Return the filter banks (frames, 80) of the audio `name`, if they are numbers; samples of 1e30 have none."""
    if not np.isfinite(features).all():
        raise AudioError(f"{name}: its filter banks are not finite numbers")
    return features


@functools.cache
def backend() -> Callable[[np.ndarray], np.ndarray]:
    """Return torchaudio's filter banks if it can be imported, else kaldi-native-fbank's, equal to 0.01 in log-mel."""
    try:
        import torchaudio.compliance.kaldi  # noqa: F401
    except (ImportError, OSError, RuntimeError):  # PyPI's torchaudio wants the CUDA libraries of a CUDA torch
        return by_kaldi_native_fbank
    return by_torchaudio


def by_torchaudio(scaled: np.ndarray) -> np.ndarray:
    """Return filter banks (frames, 80) of 16-bit scale samples."""
    import torch
    from torchaudio.compliance import kaldi

    return kaldi.fbank(torch.from_numpy(scaled)[None], num_mel_bins=BINS, sample_frequency=RATE).numpy()


def by_kaldi_native_fbank(scaled: np.ndarray) -> np.ndarray:
    """Return filter banks (frames, 80) of 16-bit scale samples."""
    kaldi_native_fbank = require("kaldi_native_fbank", "speech", "filter banks")
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = BINS
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(RATE, scaled)
    computer.input_finished()
    return np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])
