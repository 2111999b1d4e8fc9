"""Read audio without torchaudio's removed and CUDA-bound parts, and let a data folder be moved.

Without it: no audio file can be read, a moved data folder is not found, and damaged data is not noticed.
- Every .wav or .flac that fairseq reads itself (at training time, in `interactive`, in the hub) ends in an `OSError` or
  `ImportError`: fairseq resamples with `torchaudio.sox_effects`, which torchaudio 2.9 dropped, and PyPI's torchaudio
  needs the CUDA libraries of a CUDA torch.
- `audio_root` in config.yaml is relative to the working folder, and a subword model of the same name that happens to be
  in the working folder is taken instead of the one beside the config.
- A damaged manifest, or features that are not numbers, end in a traceback, or in a loss that is NaN.
Versions: every fairseq so far; torchaudio 2.9 and newer, or any that was built for another torch.
Unnecessary: never, for the config and the manifest; for the rest with an older torchaudio, whose results are kept.
"""

from pathlib import Path

import numpy as np
from fairseq.data.audio import audio_utils, data_cfg, speech_to_text_dataset

from ...common.errors import UserError
from ..wrap import wrap


def apply() -> None:
    wrap(audio_utils, "convert_waveform", __name__, _make_convert_waveform)
    wrap(audio_utils, "_get_torchaudio_fbank", __name__, _make_fbank)
    wrap(data_cfg, "get_config_from_yaml", __name__, _make_read_config)
    wrap(speech_to_text_dataset, "get_features_or_waveform", __name__, _make_checked_features)
    creator = speech_to_text_dataset.SpeechToTextDatasetCreator
    wrap(creator, "_load_samples_from_tsv", __name__, _make_checked_manifest)


def _make_convert_waveform(original):
    def convert_waveform(waveform, sample_rate, normalize_volume=False, to_mono=False, to_sample_rate=None):
        """Average the channels of `waveform`, `(channels, samples)`, and resample it by scipy's polyphase filter."""
        from fractions import Fraction

        import torch

        from ...corpora.speech.features import change_speed

        if normalize_volume:  # only sox does it
            return original(waveform, sample_rate, True, to_mono, to_sample_rate)
        is_tensor = torch.is_tensor(waveform)
        wave = waveform.numpy() if is_tensor else waveform
        if to_mono and len(wave) > 1:
            wave = wave.mean(axis=0, keepdims=True)
        if to_sample_rate is not None and to_sample_rate != sample_rate:
            wave = np.stack([change_speed(channel, Fraction(sample_rate, to_sample_rate)) for channel in wave])
        return torch.from_numpy(wave) if is_tensor else wave, to_sample_rate or sample_rate

    return convert_waveform


def _make_fbank(original):
    def _get_torchaudio_fbank(waveform, sample_rate, n_bins=80):
        """Return filter banks `(frames, bins)` of a waveform `(1, samples)` on the 16-bit scale, at 16 kHz."""
        from ...corpora.speech.features import BINS, filter_banks, resample

        if n_bins != BINS:
            return original(waveform, sample_rate, n_bins)
        return filter_banks(resample(np.asarray(waveform, np.float32).reshape(-1), sample_rate) / 2**15)

    return _get_torchaudio_fbank


def _make_read_config(original):
    def get_config_from_yaml(yaml_path):
        config = original(yaml_path)
        if not isinstance(config, dict):
            raise UserError(
                f"{yaml_path} must hold names and values, as in `audio_root: features`; prepare the data again"
            )
        subwords = config.get("bpe_tokenizer")
        for part, name in ((config, "audio_root"), (subwords, "sentencepiece_model")):
            value = part.get(name) if isinstance(part, dict) else None
            if value and not Path(value).is_absolute() and (Path(yaml_path).parent / value).exists():
                part[name] = (Path(yaml_path).parent / value).as_posix()
        return config

    return get_config_from_yaml


def _make_checked_features(original):
    def get_features_or_waveform(path, *args, **kwargs):
        try:
            features = original(path, *args, **kwargs)
        except (OSError, ValueError, AssertionError, IndexError, EOFError) as error:
            # numpy and fairseq find no first byte where a file was cut off
            what = "the file is cut short" if isinstance(error, IndexError | EOFError) else error
            raise UserError(f"{path}: these features cannot be read ({what}); prepare the data again") from error
        if len(features) == 0 or not np.isfinite(features).all():
            what = "hold numbers that are not finite" if len(features) else "are empty"
            raise UserError(f"{path}: these features {what}; take the utterance out of the manifest")
        return features

    return get_features_or_waveform


def _make_checked_manifest(original):
    def _load_samples_from_tsv(cls, root: str, split: str) -> list[dict[str, str]]:
        """Return the rows of a manifest; check one that names audio for recognition."""
        from ...corpora.speech.manifest import read_manifest

        path = Path(root) / f"{split}.tsv"
        if not path.is_file():
            raise UserError(f"{path}: no such manifest; check the data folder and the names of the subsets")
        with open(path, encoding="utf-8", errors="replace") as file:
            columns = file.readline().rstrip("\n").split("\t")
        # speech translation to speech, and auxiliary texts, have other columns
        return read_manifest(path) if "audio" in columns else original(cls, root, split)

    return _load_samples_from_tsv
