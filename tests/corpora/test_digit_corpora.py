"""The two digit corpora: what is heard is what is written, nothing leaks from test to training."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from b2t_fairseq import UserError
from b2t_fairseq.corpora import spoken_digits
from b2t_fairseq.corpora.embedded import dtmf
from b2t_fairseq.corpora.speech.features import RATE, read_audio
from b2t_fairseq.corpora.speech.layout import read_split

SIZES = {"train": 12, "valid": 4, "test": 5}
SPLITS = ("train", "valid")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_dialling_is_the_same_for_a_seed_and_another_for_another(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        dtmf.generate(tmp_path / name, SIZES, seed)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")
    counts = {split: len(read_split(tmp_path / "a", split)[0]) for split in SIZES}
    assert counts == SIZES
    speakers = [{utterance.speaker for utterance in read_split(tmp_path / "a", split)[0]} for split in SIZES]
    assert not speakers[0] & speakers[1] and not (speakers[0] | speakers[1]) & speakers[2]


def heard(wave: np.ndarray) -> str:
    """A detector that shares nothing with the generator: energy at the eight frequencies by the FFT, 5 ms apart."""
    keys = "123456789*0#"
    found = []
    size, step = RATE // 40, RATE // 200
    for start in range(0, len(wave) - size, step):
        spectrum = np.abs(np.fft.rfft(wave[start : start + size] * np.hanning(size), 8 * size))
        energy = lambda f: spectrum[int(f * 0.985 * 8 * size / RATE) : int(f * 1.015 * 8 * size / RATE) + 2].max()  # noqa: E731, B023
        low, high = ([energy(f) for f in tones] for tones in ((697, 770, 852, 941), (1209, 1336, 1477)))
        is_tone = max(low) > 2.5 * sorted(low)[-2] and max(high) > 2.5 * sorted(high)[-2]
        loud = min(max(low), max(high)) > 4 * np.median(spectrum)
        found.append(keys[3 * int(np.argmax(low)) + int(np.argmax(high))] if is_tone and loud else "")
    runs = []
    for key in found:
        if runs and runs[-1][0] == key:
            runs[-1][1] += 1
        else:
            runs.append([key, 1])
    return "".join(key for key, length in runs if key and length >= 4)


def test_the_tones_say_what_the_transcript_says(tmp_path):
    rng = np.random.default_rng(5)
    line = {"pace": 1.0, "level": 0.3, "twist": 2.0, "deviation": 0.005, "noise": 30.0, "hum": 0.1}
    for number in ("0123456789", "5550", "9174"):
        assert heard(dtmf.dial(number, line, rng)) == number
    assert dtmf.words("407") == "four zero seven"


@pytest.fixture
def singles(tmp_path):
    """Recordings DIGIT_SPEAKER_INDEX.wav, 8 kHz: a tone whose height is 300 Hz + 100 Hz for each digit."""
    folder = tmp_path / "singles"
    folder.mkdir()
    time = np.arange(2000) / 8000
    for speaker in ("anna", "ben", "zoe"):
        for digit in range(10):
            for index in range(13):
                tone = 0.3 * np.sin(2 * np.pi * (300 + 100 * digit) * time)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", tone, 8000)
    return folder


def digits_of(utterance) -> list[int]:
    return [dtmf.WORDS.index(word) for word in utterance.text.split()]


def tones_of(wave: np.ndarray) -> list[int]:
    """The digits heard, one for each stretch of sound."""
    loud = np.convolve(np.abs(wave) > 0.02, np.ones(160), "same") > 8
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    found = []
    for start, end in edges.reshape(-1, 2):
        piece = wave[start:end]
        spectrum = np.abs(np.fft.rfft(piece))
        found.append(int(np.argmax(spectrum)) * RATE / len(piece))
    return found


def test_digits_are_joined_as_written_and_the_held_out_speaker_is_held_out(singles, tmp_path):
    assert spoken_digits.build(singles, tmp_path / "out", held_out="ben") == []
    splits = sorted(os.listdir(tmp_path / "out"))
    assert splits == ["test-ben", "test-known", "train", "valid"]
    read = {split: read_split(tmp_path / "out", split)[0] for split in splits}
    assert {u.speaker for u in read["test-ben"]} == {"ben"}
    assert {u.speaker for split in ("train", "valid", "test-known") for u in read[split]} == {"anna", "zoe"}
    assert sum(len(digits_of(u)) for u in read["test-ben"]) == 130
    assert sum(len(digits_of(u)) for u in read["test-known"]) == 2 * 50
    assert sum(len(digits_of(u)) for u in read["train"]) == 2 * 30 * len(spoken_digits.TRAINING_TURNS)
    for utterance in read["test-ben"][:5]:
        heard = [round((height - 300) / 100) for height in tones_of(read_audio(utterance.audio))]
        assert heard == digits_of(utterance)
    lengths = {split: {len(digits_of(utterance)) for utterance in read[split]} for split in splits}
    assert lengths["train"] == set(range(1, 8)), "single words, too"
    assert all(
        max(lengths[split]) <= 7 and not {1, 2} <= lengths[split] for split in ("valid", "test-known", "test-ben")
    )


def test_no_pause_is_silent(singles, tmp_path):
    spoken_digits.build(singles, tmp_path / "out")
    for utterance in read_split(tmp_path / "out", "test-zoe")[0]:
        wave = read_audio(utterance.audio)
        pieces = np.abs(wave[: len(wave) // 400 * 400]).reshape(-1, 400).max(1)  # 25 ms, as long as a frame
        assert 1e-4 < pieces.min() < 0.1 * pieces.max()


def test_building_twice_gives_the_same_and_bad_recordings_are_named(singles, tmp_path):
    (singles / "3_anna_7.wav").write_bytes(b"nothing")
    (singles / "notes.txt").write_text("not a recording")
    bad = [spoken_digits.build(singles, tmp_path / name) for name in ("a", "b")]
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert [name for name, _ in bad[0]] == ["3_anna_7.wav"] and bad[0] == bad[1]
    assert "not an audio file" in bad[0][0][1] and str(tmp_path) not in bad[0][0][1]


def test_if_too_little_is_left_the_first_bad_recording_is_named(singles, tmp_path):
    for path in singles.glob("*_zoe_*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none is left for test-zoe .*; 130 cannot be used, the first is 0_zoe_0.wav"):
        spoken_digits.build(singles, tmp_path / "out")


def test_recordings_are_found_by_suffixes_in_any_case(singles, tmp_path):
    expected = spoken_digits.recordings(singles)["anna"].keys()
    for path in singles.iterdir():
        path.rename(path.with_suffix(".WAV"))
    assert spoken_digits.recordings(singles)["anna"].keys() == expected and spoken_digits.find(singles) == singles


def pack(archive: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(archive, "w:xz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo("9_evil_9.wav")
            member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member)
    return archive


def test_nothing_in_an_archive_leads_out_of_the_folder(tmp_path):
    members = {"../../0_evil_1.wav": b"a", "/tmp/1_evil_1.wav": b"b", "x/2_evil_1.wav": b"c", "../passwd": b"d"}
    archive = pack(tmp_path / "r.tar.xz", members, link="/etc/passwd")
    spoken_digits.unpack(archive, tmp_path / "deep" / "er" / "out")
    assert sorted(path.name for path in (tmp_path / "deep").rglob("*.*")) == [
        f"{digit}_evil_1.wav" for digit in (0, 1, 2)
    ]
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["r.tar.xz"]


def test_an_archive_is_found_and_a_damaged_one_is_one_sentence(singles, tmp_path):
    members = {path.name: path.read_bytes() for path in singles.iterdir()}
    (tmp_path / "fsdd").mkdir()
    archive = pack(tmp_path / "fsdd" / "recordings.tar.xz", members)
    assert spoken_digits.find(tmp_path) == spoken_digits.find(tmp_path / "fsdd") == archive
    assert spoken_digits.find(archive) == archive and spoken_digits.find(singles) == singles
    spoken_digits.build(archive, tmp_path / "out")
    assert (tmp_path / "out" / "test-zoe").is_dir()
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(UserError, match="cannot be unpacked"):
        spoken_digits.unpack(archive, tmp_path / "again")


def test_too_little_is_one_sentence(singles, tmp_path):
    with pytest.raises(UserError, match="no speaker carl; it has anna, ben, zoe"):
        spoken_digits.build(singles, tmp_path / "a", held_out="carl")
    for path in singles.glob("*_ben_*"):
        path.unlink()
    for path in singles.glob("*_anna_1?.wav"):
        path.unlink()
    with pytest.raises(UserError, match="too few recordings: none is left for train"):
        spoken_digits.build(singles, tmp_path / "b")


@pytest.mark.skipif("B2T_DATA" not in os.environ, reason="B2T_DATA is not set")
def test_the_free_spoken_digit_dataset(tmp_path):
    archive = spoken_digits.find(Path(os.environ["B2T_DATA"]))
    assert spoken_digits.speakers(archive) == ["george", "jackson", "lucas", "theo", "yweweler"]
    assert spoken_digits.build(archive, tmp_path / "out", held_out="theo") == []
    read = {
        split: read_split(tmp_path / "out", split)[0] for split in os.listdir(tmp_path / "out") if split != "recordings"
    }
    digits = {split: sum(len(digits_of(utterance)) for utterance in found) for split, found in read.items()}
    assert digits == {
        "train": 4 * 400 * len(spoken_digits.TRAINING_TURNS),
        "valid": 4 * 50,
        "test-known": 4 * 50,
        "test-theo": 500,
    }
