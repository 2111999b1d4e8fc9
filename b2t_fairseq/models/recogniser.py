"""A trained speech recogniser on audio files and waveforms, with features of our own."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from fairseq import checkpoint_utils
from fairseq.data.audio.feature_transforms import CompositeAudioFeatureTransform
from fairseq.models.speech_to_text.hub_interface import S2THubInterface

from ..checkpoints import bundles
from ..common.errors import UserError
from ..corpora.speech.archive import SHORTEST
from ..corpora.speech.features import RATE, SHIFT, WINDOW, AudioError, filter_banks, finite, read_audio


class Recogniser(S2THubInterface):
    """fairseq's hub interface for speech, on features of our own: `predict` takes a file or a waveform."""

    @classmethod
    def load(
        cls, checkpoint: str, data: str, beam: int = 5, config_yaml: str = "config.yaml", **overrides
    ) -> "Recogniser":
        """Load a recogniser from a checkpoint and the prepared data folder it was trained on (dictionary and config).

        Raises:
            UserError: a file is missing, or the checkpoint is not a speech recogniser or has another vocabulary.
        """
        config = Path(data) / config_yaml
        for path in (checkpoint, config):
            if not os.path.isfile(path) and not bundles.is_bundle(path):
                raise UserError(f"{path}: no such file; --path takes a checkpoint, --data a prepared folder")
        if bundles.is_bundle(data):
            bundles.overrides(data)  # refuses a damaged one, and settings that name a place outside of it
        try:
            yaml.safe_load(config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{config} is not valid YAML ({reason}): prepare the folder again") from None
        overrides |= {"data": data, "config_yaml": config_yaml}
        models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([checkpoint], arg_overrides=overrides)
        assert cfg is not None and task is not None  # fairseq gives None where it loads no checkpoint
        if not hasattr(task, "data_cfg"):
            raise UserError(f"{checkpoint} is not a speech recogniser (its task is {cfg.task._name})")
        pieces = (task.data_cfg.bpe_tokenizer or {}).get("sentencepiece_model")
        if pieces and not os.path.isfile(pieces):
            raise UserError(f"{config} names {pieces}, and there is no such file: prepare the folder again")
        cfg.generation.beam = beam
        models[0].prepare_for_inference_(cfg)
        return cls(cfg, task, models[0])

    @property
    def limit(self) -> int:
        """The most frames of 10 ms that the model takes."""
        return self.task.max_positions()[0]

    @classmethod
    def get_model_input(cls, task, audio: str | torch.Tensor) -> dict:
        """Return a batch of one: `(1, frames, 80)` of a file or a 16 kHz waveform `(samples,)` or `(1, samples)`."""
        if isinstance(audio, str | os.PathLike):
            return model_input(task, read_audio(audio), audio)
        return model_input(task, np.asarray(audio).reshape(-1), "the waveform")

    def transcribe(self, paths: Sequence[str | os.PathLike], cut: bool = False) -> Iterator[str | AudioError]:
        """Yield the text of each file, or what is wrong with it.

        Args:
            paths: WAV or FLAC files.
            cut: transcribe the beginning of a file that is too long, and warn on stderr.
        """
        for path in paths:
            try:
                waveform = read_audio(path)
                most = WINDOW + (self.limit - 1) * SHIFT
                if len(waveform) > most:
                    too_long = f"{path}: {len(waveform) / RATE:.1f} s long, the model takes at most {most / RATE:.1f} s"
                    if not cut:
                        raise AudioError(f"{too_long}; split it, or use --cut")
                    print(f"warning: {too_long}; the rest is cut off", file=sys.stderr)
                    waveform = waveform[:most]
                sample = model_input(self.task, waveform, path)
                text = self.get_prediction(self.task, self.model, self.generator, sample)
                assert isinstance(text, str)  # fairseq adds a waveform only if asked to synthesise one
                yield text
            except AudioError as error:
                yield error
            except Exception as error:  # no file may end the transcription of the others
                yield AudioError(f"{path}: {type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}")


def model_input(task, waveform: np.ndarray, name: str | os.PathLike) -> dict:
    """Return a batch of one: the features `(1, frames, 80)` of a 16 kHz waveform `(samples,)`.

    Raises:
        AudioError: the audio `name` is too short, or has no features.
    """
    features = finite(filter_banks(waveform), name)
    if len(features) < SHORTEST:
        least = 1000 * (WINDOW + (SHORTEST - 1) * SHIFT) // RATE
        raise AudioError(f"{name}: too short ({1000 * len(waveform) / RATE:.0f} ms, the least is {least} ms)")
    transforms = task.data_cfg.get_feature_transforms("test", False)
    transform = CompositeAudioFeatureTransform.from_config_dict(transforms)
    features = torch.from_numpy(transform(features) if transform else features).float()[None]
    batch = {"src_tokens": features, "src_lengths": torch.tensor([features.size(1)]), "prev_output_tokens": None}
    return {"net_input": batch, "target_lengths": None, "speaker": None}
