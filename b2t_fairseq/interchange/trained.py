"""A trained model from Python, by the name of its folder: `b2t_fairseq.load("runs/quickstart/b2t-18-18")`."""

import math
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.sequence_scorer import SequenceScorer
from torch import Tensor

from ..common.errors import UserError, explain_too_long
from ..connections.own_module import import_connection_module
from ..corpora.speech.features import AudioError
from ..models.recogniser import Recogniser
from .places import SPEECH, Places, find


class Trained:
    """A trained model with its dictionaries and subwords: text (or audio) in, text or numbers out.

    Attributes:
        places: where its parts were found.
        hub: fairseq's own interface to it, for what is not here.
        task: fairseq's task.
        signature: what the model is: connection, initialisation, layers, versions; None for a model of fairseq's own.
    """

    def __init__(self, places: Places, hub: Any):
        self.places, self.hub, self.task = places, hub, hub.task
        self.signature: str | None = getattr(self.models[0], "signature", None)

    @property
    def models(self) -> Sequence[torch.nn.Module]:
        """Return the models: one."""
        return [self.hub.model] if self.is_speech else self.hub.models

    @property
    def is_speech(self) -> bool:
        return self.places.task == SPEECH

    @property
    def is_language_model(self) -> bool:
        return self.places.task == "language_modeling"

    def to(self, device: str | torch.device) -> "Trained":
        """Move the model to a device, such as "cuda"; return it."""
        self.hub.to(device)
        return self

    def translate(self, lines: Sequence[str], beam: int = 5, **options: Any) -> list[str]:
        """Return the translation of each line of raw text.

        Args:
            lines: raw text; subwords are cut here.
            beam: hypotheses kept in the search.
            **options: of fairseq's generation: `lenpen`, `max_len_a`, `max_len_b`, ….

        Raises:
            UserError: the model does not translate, or a line is too long for it.
        """
        if self.is_speech or self.is_language_model:
            raise UserError(
                f"{self.places.checkpoint} does not read text and write text: its task is {self.places.task}"
            )
        texts = a_list(lines)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true")
                return self.hub.translate(texts, beam=beam, **options) if texts else []
        except Exception as error:
            line = explain_too_long(" ".join(str(error).split()))
            if line is None:
                raise
            raise UserError(line) from None

    def summarize(self, lines: Sequence[str], beam: int = 5, **options: Any) -> list[str]:
        """Return the headline of each text; the same as `translate`."""
        return self.translate(lines, beam, **options)

    def transcribe(self, paths: Sequence[str | os.PathLike], cut: bool = False) -> list[str]:
        """Return what is said in each audio file (WAV or FLAC, any rate).

        Args:
            paths: the files.
            cut: transcribe the beginning of a file that is too long.

        Raises:
            UserError: the model is not a speech recogniser.
            AudioError: a file cannot be transcribed.
        """
        if not self.is_speech:
            raise UserError(f"{self.places.checkpoint} is not a speech recogniser: its task is {self.places.task}")
        texts = list(self.hub.transcribe(a_list(paths), cut))
        for text in texts:
            if isinstance(text, AudioError):
                raise text
        return texts

    def score(self, lines: Sequence[str], targets: Sequence[str] | None = None) -> list[float]:
        """Return the natural logarithm of each line's probability, its end included.

        Args:
            lines: for a language model the texts; otherwise the sources.
            targets: what is scored, given the sources; none for a language model.

        Raises:
            UserError: targets are missing or not as many, or a text is too long.
        """
        return [float(scores.sum()) for scores in self.token_scores(lines, targets)]

    def perplexity(
        self, lines: Sequence[str], targets: Sequence[str] | None = None, window: int | None = None
    ) -> float:
        """Return the perplexity per token, line ends counted as tokens.

        Args:
            lines: for a language model one text, which is read in windows as `eval-lm` does; otherwise the sources.
            targets: what is scored, given the sources; none for a language model.
            window: tokens that a language model reads at a time (default: as many as it can).

        Raises:
            UserError: targets are missing or not as many, there is no text, or the window is too long.
        """
        if self.is_language_model and targets is None:
            scores = self.windowed_scores(a_list(lines), window)
        else:
            scores = self.token_scores(lines, targets)
        tokens = sum(len(part) for part in scores)
        if not tokens:
            raise UserError("no perplexity of no text")
        return math.exp(-sum(float(part.sum(dtype=torch.float64)) for part in scores) / tokens)

    def token_scores(self, lines: Sequence[str], targets: Sequence[str] | None) -> list[Tensor]:
        """Return the log-probability of each token of each line (or target), of its end too."""
        if self.is_speech:
            raise UserError("a speech recogniser scores no text: use .transcribe")
        lines = a_list(lines)
        if self.is_language_model:
            if targets is not None:
                raise UserError("a language model scores texts alone: leave the targets out")
            return [self.scored(self.hub.encode(line)) for line in lines]
        if targets is None or len(a_list(targets)) != len(lines):
            raise UserError(f"{len(lines)} sources need as many targets: .score(sources, targets)")
        pairs = zip(lines, a_list(targets), strict=True)
        return [self.scored(self.encode_target(target), self.hub.encode(source)) for source, target in pairs]

    def encode_target(self, line: str) -> Tensor:
        """Return the ids of a target line: the same subwords, the target's dictionary."""
        pieces = self.hub.apply_bpe(self.hub.tokenize(line))
        return self.task.target_dictionary.encode_line(pieces, add_if_not_exist=False).long()

    def windowed_scores(self, lines: Sequence[str], window: int | None) -> list[Tensor]:
        """Return the log-probability of each token of one text, read in windows without context."""
        most = self.longest_target
        if window is not None and not 0 < window <= most:
            raise UserError(f"window={window}: the model reads from 1 to {most} tokens at a time")
        size, text = window or most, [self.hub.encode(line) for line in lines]
        if not text:
            return []
        stream = torch.cat([torch.tensor([self.task.target_dictionary.eos()]), *text])
        starts = range(0, len(stream) - 1, size)
        return [self.scored(stream[i + 1 : i + size + 1], first=int(stream[i])) for i in starts]

    @property
    def longest_target(self) -> int:
        """Return the most tokens that the decoder takes."""
        return int(self.models[0].max_decoder_positions())

    @torch.no_grad()
    def scored(self, target: Tensor, source: Tensor | None = None, first: int | None = None) -> Tensor:
        """Return the log-probability (T,) of each token of a target (T,).

        Args:
            target: ids, an end of sentence at the end of each line.
            source: ids of the source, if there is one.
            first: the id before the target (default: the end of a sentence).

        Raises:
            UserError: one of them is longer than the model takes.
        """
        dictionary, device = self.task.target_dictionary, next(self.models[0].parameters()).device
        limits = [(target, self.longest_target)]
        if source is not None:
            limits.append((source, int(self.models[0].max_positions()[0])))
        for ids, most in limits:
            if len(ids) > most:
                raise UserError(
                    f"a text of {len(ids):,} tokens is too long for the model, which takes {most:,} at most"
                )
        before = torch.tensor([dictionary.eos() if first is None else first])
        previous = torch.cat([before, target[:-1]])
        fed = {"src_tokens": previous if source is None else source}
        if source is not None:
            fed["prev_output_tokens"] = previous
        inputs = {name: ids.unsqueeze(0).to(device) for name, ids in fed.items()}
        inputs["src_lengths"] = torch.tensor([len(fed["src_tokens"])], device=device)
        sample = {"id": torch.tensor([0]), "net_input": inputs, "target": target.unsqueeze(0).to(device)}
        ((hypothesis,),) = SequenceScorer(dictionary).generate(self.models, sample)
        return hypothesis["positional_scores"].cpu()


def a_list(lines: Any) -> list[Any]:
    """Return a list of texts or paths.

    Raises:
        UserError: one text where a list of them is expected.
    """
    if isinstance(lines, str | os.PathLike):
        raise UserError("give a list of them, as in [" + repr(str(lines)[:40]) + "]")
    return list(lines)


def load(
    source: str | os.PathLike,
    *,
    data: str | os.PathLike | None = None,
    subwords: str | os.PathLike | None = None,
    connection_module: str | None = None,
    trust_checkpoint: bool = False,
    **overrides: Any,
) -> Trained:
    """Load a trained model: translation, summarization, language model or speech.

    Args:
        source: a run's folder (of quickstart, reproduce, paper-train or your own), a checkpoint file, or a bundle.
        data: the data folder with the dictionaries; by default it is searched for near the checkpoint.
        subwords: SentencePiece's model or subword-nmt's codes; by default beside the data.
        connection_module: your own module that defines the model's connection. It is run.
        trust_checkpoint: take the checkpoint's word for classes, files and modules.
        **overrides: of the checkpoint's options, such as `tokenizer="moses"`.

    Raises:
        UserError: a part is missing, damaged, or does not belong to the others; names it.
    """
    if connection_module:
        import_connection_module(connection_module)
    return open_model(find(source, data, subwords), trust_checkpoint=trust_checkpoint, **overrides)


def open_model(places: Places, trust_checkpoint: bool = False, **overrides: Any) -> Trained:
    """Load the model whose parts are known.

    Raises:
        UserError: a part is damaged, or does not belong to the others.
    """
    settings = places.overrides | overrides
    if trust_checkpoint:
        settings["trust_checkpoint"] = True
    path = str(places.checkpoint)
    try:
        if places.task == SPEECH:
            return Trained(places, Recogniser.load(path, settings.pop("data"), **settings))
        models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides=settings)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if "loading state_dict" not in text:
            raise
        raise UserError(f"{path}: not the weights of its options ({text[:300]})") from None
    return Trained(places, GeneratorHubInterface(cfg, task, models).eval())
