"""The audio patch: conversion of waveforms, filter banks, relative paths of a config, manifests of other tasks."""

import numpy as np
import pytest
import torch
from fairseq.data.audio import audio_utils, speech_to_text_dataset
from fairseq.data.audio.data_cfg import S2TDataConfig
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator

from b2t_fairseq import UserError
from b2t_fairseq.corpora.speech.archive import ZipOfFeatures
from b2t_fairseq.corpora.speech.features import filter_banks


def tone(rate, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate).astype(np.float32)
    return np.stack([wave] * channels)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_waveforms_are_converted_without_torchaudio(kind):
    converted, rate = audio_utils.convert_waveform(kind(tone(8000, 2)), 8000, to_mono=True, to_sample_rate=16000)
    assert rate == 16000 and converted.shape == (1, 16000) and type(converted) is type(kind(tone(8)))
    assert np.abs(np.asarray(converted) - tone(16000))[:, 200:-200].max() < 0.01
    same, rate = audio_utils.convert_waveform(tone(8000, 2), 8000)
    assert rate == 8000 and (same == tone(8000, 2)).all()


def test_fairseqs_filter_banks_are_ours_at_every_rate():
    expected = filter_banks(tone(16000)[0])
    assert (audio_utils._get_torchaudio_fbank(tone(16000) * 2**15, 16000) == expected).all()
    assert audio_utils._get_torchaudio_fbank(tone(8000) * 2**15, 8000).shape == expected.shape


def test_paths_in_a_config_are_seen_from_its_folder(tmp_path, monkeypatch):
    (tmp_path / "data" / "features").mkdir(parents=True)
    (tmp_path / "features").mkdir()
    for folder in (tmp_path, tmp_path / "data"):
        (folder / "spm.model").touch()
    (tmp_path / "data" / "config.yaml").write_text(
        "audio_root: features\nbpe_tokenizer: {bpe: sentencepiece, sentencepiece_model: spm.model}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = S2TDataConfig(tmp_path / "data" / "config.yaml")
    assert config.audio_root == str(tmp_path / "data" / "features")
    assert config.bpe_tokenizer["sentencepiece_model"] == str(tmp_path / "data" / "spm.model")
    (tmp_path / "data" / "config.yaml").write_text("audio_root: elsewhere\n")
    assert S2TDataConfig(tmp_path / "data" / "config.yaml").audio_root == "elsewhere"


def test_manifests_of_other_tasks_are_left_alone(tmp_path):
    (tmp_path / "a.tsv").write_text("id\ttgt_text\nx\tone\nx\t\n")
    assert [row["tgt_text"] for row in SpeechToTextDatasetCreator._load_samples_from_tsv(tmp_path, "a")] == ["one", ""]
    (tmp_path / "b.tsv").write_text("id\taudio\ttgt_text\nx\ty\tone\n")
    with pytest.raises(UserError, match="lacks the column n_frames"):
        SpeechToTextDatasetCreator._load_samples_from_tsv(tmp_path, "b")


def test_features_of_a_zip_that_is_cut_short_are_a_one_line_error(tmp_path):
    archive = tmp_path / "test.zip"
    features = np.ones((9, 80), np.float32)
    with ZipOfFeatures(archive) as file:
        places = [file.add(name, features) for name in ("a", "b")]
    whole = archive.read_bytes()
    paths = [f"{archive}:{offset}:{size}" for offset, size in places]
    assert (speech_to_text_dataset.get_features_or_waveform(paths[1]) == features).all()
    archive.write_bytes(whole[: places[1][0] - 10])  # nothing of the second, all of the first
    assert len(speech_to_text_dataset.get_features_or_waveform(paths[0])) == 9
    for kept in (places[1][0] - 10, places[1][0] + 1, places[1][0] + 300, 0):
        archive.write_bytes(whole[:kept])
        with pytest.raises(UserError, match="these features cannot be read .*; prepare the data again") as error:
            speech_to_text_dataset.get_features_or_waveform(paths[1])
        assert str(error.value).startswith(paths[1])
    (tmp_path / "a.npy").touch()
    with pytest.raises(UserError, match=r"a\.npy: these features cannot be read \(the file is cut short\)"):
        speech_to_text_dataset.get_features_or_waveform(str(tmp_path / "a.npy"))
