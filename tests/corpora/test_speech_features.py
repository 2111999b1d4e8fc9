"""Filter banks equal torchaudio's, and every way in which an audio file can be unusable has its sentence."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from b2t_fairseq.corpora.speech import features as speech_features
from b2t_fairseq.corpora.speech.features import (
    RATE,
    AudioError,
    by_kaldi_native_fbank,
    filter_banks,
    read_audio,
    resample,
)
from b2t_fairseq.corpora.speech.features import (
    speech_features as features_of,
)


@pytest.fixture(scope="module")
def kaldi():
    """torchaudio's pure-Python compliance/kaldi.py, read by path: the wheel itself may need a CUDA torch."""
    home = Path(importlib.util.find_spec("torchaudio").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("kaldi_by_path", home / "compliance" / "kaldi.py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules.pop("torchaudio")
        if before is not None:
            sys.modules["torchaudio"] = before
    return module


def voice(seconds: float = 1.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A vowel-like sound with noise; samples in [-1, 1]."""
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 12)) * (1 + np.sin(2 * np.pi * 3 * time))
    wave = 0.1 * wave + 0.01 * np.random.default_rng(seed).normal(size=len(time))
    return wave.astype(np.float32)


@pytest.mark.parametrize("seconds", [0.03, 0.9, 3.21])
@pytest.mark.parametrize("loudness", [1.0, 0.001])
def test_filter_banks_equal_torchaudios(kaldi, seconds, loudness):
    wave = loudness * voice(seconds)
    theirs = kaldi.fbank(torch.from_numpy(wave)[None] * 2**15, num_mel_bins=80, sample_frequency=RATE).numpy()
    ours = by_kaldi_native_fbank(wave * 2**15)
    assert ours.shape == theirs.shape == (1 + (len(wave) - 400) // 160, 80)
    assert np.abs(ours - theirs).max() <= 0.01
    assert np.abs(filter_banks(wave) - theirs).max() <= 0.01


def test_silence_is_finite_and_equal(kaldi):
    wave = np.zeros(4000, np.float32)
    theirs = kaldi.fbank(torch.from_numpy(wave)[None], num_mel_bins=80, sample_frequency=RATE).numpy()
    assert np.abs(filter_banks(wave) - theirs).max() <= 0.01


def test_torchaudio_is_used_where_it_imports(monkeypatch, kaldi):
    compliance = ModuleType("torchaudio.compliance")
    compliance.kaldi = kaldi
    package = ModuleType("torchaudio")
    package.compliance = compliance
    for name, module in (("", package), (".compliance", compliance), (".compliance.kaldi", kaldi)):
        monkeypatch.setitem(sys.modules, f"torchaudio{name}", module)
    speech_features.backend.cache_clear()
    try:
        assert speech_features.backend() is speech_features.by_torchaudio
        assert np.abs(filter_banks(voice()) - by_kaldi_native_fbank(voice() * 2**15)).max() <= 0.01
    finally:
        speech_features.backend.cache_clear()


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("rate, channels", [(8000, 1), (16000, 2), (44100, 2), (48000, 6)])
def test_any_rate_and_any_number_of_channels(tmp_path, rate, channels, suffix):
    time = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate)
    wave = read_audio(path)
    assert len(wave) == RATE and wave.dtype == np.float32
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert np.abs(wave - expected)[200:-200].max() < 0.01  # a tone stays the tone it is, in time and in height


def test_channels_are_averaged_and_high_tones_do_not_fold_back(tmp_path):
    soundfile.write(
        tmp_path / "a.wav", np.stack([np.full(800, 0.5), np.full(800, -0.1)], axis=1), RATE, subtype="FLOAT"
    )
    assert read_audio(tmp_path / "a.wav") == pytest.approx(np.full(800, 0.2), abs=1e-6)
    high = np.sin(2 * np.pi * 11_000 * np.arange(44_100) / 44_100).astype(np.float32)
    assert np.abs(resample(high, 44_100))[500:-500].max() < 0.02


def cut_off(path: Path, share: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def bad_files(folder: Path) -> dict[str, Path]:
    """Files that cannot be used, by a word of the sentence each must get."""
    files = {word: folder / f"{n}.wav" for n, word in enumerate(("no such", "empty", "not an audio", "0 samples"))}
    files["empty"].write_bytes(b"")
    files["not an audio"].write_text("this is text\n" * 50)
    soundfile.write(files["0 samples"], np.zeros(0), RATE)
    for word, name, wave in (
        ("cut off", "cut.flac", voice()),
        ("header announces", "cut.wav", voice()),
        ("too short", "short.wav", voice(0.02)),
        ("not finite", "nan.wav", np.where(np.arange(RATE) == 77, np.nan, voice())),
    ):
        files[word] = folder / name
        soundfile.write(files[word], wave, RATE, subtype="FLOAT" if word == "not finite" else "PCM_16")
    cut_off(files["header announces"]), cut_off(files["cut off"])
    return files


@pytest.mark.parametrize(
    "word",
    ["no such", "empty", "not an audio", "0 samples", "cut off", "header announces", "too short", "not finite"],
)
def test_each_unusable_file_has_its_sentence(tmp_path, word):
    path = bad_files(tmp_path)[word]
    wanted = "cut off|not an audio" if word == "cut off" else word  # libsndfile may notice before we do
    with pytest.raises(AudioError, match=wanted) as error:
        features_of(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_wav_of_announced_but_unknown_length_is_read(tmp_path):
    """What programs write that stream: 0xFFFFFFFF in the header."""
    soundfile.write(tmp_path / "s.wav", voice(), RATE)
    data = bytearray((tmp_path / "s.wav").read_bytes())
    data[4:8] = b"\xff" * 4
    (tmp_path / "s.wav").write_bytes(data)
    assert len(features_of(tmp_path / "s.wav")) == 98
