"""Small audio files and archives that ask for more than a machine has: one line, within seconds, in bounded memory."""

import gzip
import io
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.corpora import spoken_digits
from b2t_fairseq.corpora.fetching import extract as extraction
from b2t_fairseq.corpora.fetching.extract import extract
from b2t_fairseq.corpora.speech import features
from b2t_fairseq.corpora.speech.archive import features_or_reason
from b2t_fairseq.corpora.speech.features import AudioError, read_audio
from b2t_fairseq.models import recogniser

TONE = (0.1 * np.sin(np.arange(16_000) / 5)).astype(np.float32)


def wav(path: Path, rate: int = 16_000, samples: np.ndarray = TONE, frames: int | None = None) -> Path:
    """A WAV file of floats whose header says any rate."""
    data = samples.astype("<f4").tobytes()
    size = len(data) if frames is None else 4 * frames
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 3, 1, rate, (4 * rate) % 2**32, 4, 32)
    body = head + b"data" + struct.pack("<I", size) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.mark.parametrize("rate", [1, 999, 768_001, 9_999_991, 99_999_989, 2**31 - 1])
def test_rates_that_no_recorder_has(rate, tmp_path):
    began = time.monotonic()
    with pytest.raises(AudioError, match="the rate must be from 1,000 to 768,000|not an audio file"):
        read_audio(wav(tmp_path / "x.wav", rate))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("rate", [1_000, 44_100, 767_999])
def test_rates_that_are_read(rate, tmp_path):
    waveform = read_audio(wav(tmp_path / "x.wav", rate))
    assert len(waveform) == pytest.approx(len(TONE) * 16_000 / rate, abs=2)


def test_a_header_is_not_believed(tmp_path, monkeypatch):
    """2^36 samples of 8 channels: the memory that they would need is never asked for."""

    class Announces(soundfile.SoundFile):
        frames = 2**36

    soundfile.write(tmp_path / "x.flac", np.stack([TONE] * 8, axis=1), 16_000)
    monkeypatch.setattr(soundfile, "SoundFile", Announces)
    with pytest.raises(AudioError, match="cut off"):
        read_audio(tmp_path / "x.flac")


def test_the_longest_file(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "LONGEST", 15_999)
    with pytest.raises(AudioError, match="longer than 15,999 samples"):
        read_audio(wav(tmp_path / "x.wav"))
    monkeypatch.setattr(features, "LONGEST", 16_000)
    monkeypatch.setattr(features, "BLOCK", 100)
    assert np.array_equal(read_audio(tmp_path / "x.wav"), TONE)


def test_channels_are_averaged_block_by_block(tmp_path, monkeypatch):
    stereo = np.stack([TONE, -0.5 * TONE], axis=1)
    soundfile.write(tmp_path / "x.wav", stereo, 16_000, subtype="FLOAT")
    monkeypatch.setattr(features, "BLOCK", 333)
    assert np.array_equal(read_audio(tmp_path / "x.wav"), stereo.mean(axis=1))


@pytest.mark.parametrize("error", [RuntimeError("mel energy is nan"), MemoryError(), KeyError("x")])
def test_one_file_that_fails_is_named_and_the_others_are_done(error, tmp_path, monkeypatch):
    good, bad = wav(tmp_path / "good.wav"), wav(tmp_path / "bad.wav", samples=TONE / 2)
    original = features.filter_banks

    def fails_for_the_bad(waveform):
        if abs(waveform).max() < 0.06:
            raise error
        return original(waveform)

    monkeypatch.setattr(features, "filter_banks", fails_for_the_bad)
    monkeypatch.setattr(recogniser, "filter_banks", fails_for_the_bad)
    named, done = features_or_reason(bad), features_or_reason(good)
    assert str(bad) in named and type(error).__name__ in named and done.shape == (98, 80)

    class Model(recogniser.Recogniser):
        limit, task, model, generator = 6000, None, None, None

        def __init__(self):
            pass

        @classmethod
        def get_prediction(cls, *parts):
            return "heard"

    monkeypatch.setattr(recogniser, "model_input", lambda task, waveform, name: fails_for_the_bad(waveform))
    first, second = Model().transcribe([bad, good])
    assert isinstance(first, AudioError) and str(bad) in str(first) and type(error).__name__ in str(first)
    assert second == "heard"


def test_samples_of_any_size_are_one_reason(tmp_path):
    for size in (3e38, 1e30):
        reason = features_or_reason(wav(tmp_path / "x.wav", samples=np.full(16_000, size, np.float32)))
        assert isinstance(reason, str) and str(tmp_path / "x.wav") in reason


def header(kind: bytes, size: int) -> bytes:
    """A tar header of a long name (L), a long link (K), a PAX header (x, g) or a sparse file (S) of so many bytes."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def bomb(path: Path, kind: bytes, megabytes: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header(kind, megabytes << 20))
        for _ in range(megabytes):
            file.write(b"\0" * (1 << 20))
    return path


MEASURED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from b2t_fairseq.corpora.fetching.extract import extract
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    extract(Path({archive!r}), Path({folder!r}))
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_headers_are_bounded(kind, tmp_path):
    archive = bomb(tmp_path / "bomb.tar.gz", kind, 16)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be unpacked \(a header of 16,777,216 bytes\)"):
        extract(archive, tmp_path / "out")
    with pytest.raises(UserError, match="a header of 16,777,216 bytes"):
        spoken_digits.unpack(archive, tmp_path / "digits")
    assert time.monotonic() - began < 5


def test_their_memory_is_not_asked_for(tmp_path):
    archive = bomb(tmp_path / "bomb.tar.gz", b"L", 120)
    code = MEASURED.format(root=str(Path(extraction.__file__).parents[3]), archive=str(archive), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sentence, megabytes = done.stdout.splitlines()
    assert "a header of" in sentence and int(megabytes) < 50


def test_sparse_files_are_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(header(b"S", 512) + b"\0" * 1024)
    with pytest.raises(UserError, match="is a sparse file"):
        extract(tmp_path / "x.tar", tmp_path / "out")


def test_members_that_are_left_out_count_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "SPARE", 1 << 20)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for name in ("unwanted", "wanted"):
            info = tarfile.TarInfo(name)
            info.size = 30 << 20
            archive.addfile(info, io.BytesIO(b"\0" * info.size))
    with pytest.raises(UserError, match="unpacks to more than"):
        extract(tmp_path / "x.tar.gz", tmp_path / "out", lambda name: name if name == "wanted" else None)


def test_long_names_within_the_bound_are_read(tmp_path):
    name = "a/" + "b" * 180 + "/c"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=form) as archive:
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
        extract(tmp_path / "x.tar.gz", tmp_path / str(form))
        assert (tmp_path / str(form) / name).read_text() == "text"
