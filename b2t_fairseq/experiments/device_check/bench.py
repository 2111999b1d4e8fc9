"""Models, batches and trainers for the cases, and how two results are compared."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import options, tasks, utils
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.modules import FairseqDropout
from fairseq.trainer import Trainer
from torch import Tensor, nn

from ...analysis import fresh
from ...analysis.batches import EOS, PAD, collate

LAYERS, WIDTH, TOKENS = "3-2", 64, 300  # of the small models, and tokens of their batch
LENGTH = 28  # words of a sentence there


class NotRun(Exception):
    """A case that this machine cannot run; the message says why."""


class Figure(NamedTuple):
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        most: the largest value that is right; None if the number is only reported.
        unit: as printed behind it.
    """

    name: str
    value: float
    most: float | None = None
    unit: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the value is within its limit; NaN never is."""
        return self.most is None or self.value <= self.most


class Case(NamedTuple):
    """Something to run.

    Attributes:
        check: the group it belongs to, as on the command line.
        name: of the case.
        run: does the work and returns its figures.

    Raises (by `run`):
        NotRun: this machine cannot.
    """

    check: str
    name: str
    run: Callable[[], list[Figure]]


class Settings(NamedTuple):
    """What all cases share.

    Attributes:
        device: "cuda" or "cpu".
        connections: the methods to check.
        folder: for files that nobody keeps.
        pairs: measurements of each speed.
        width: of the models whose speed and memory are measured.
        depths: of those.
        tokens: of their batches.
    """

    device: str
    connections: tuple[str, ...]
    folder: Path
    pairs: int
    width: int
    depths: tuple[str, ...]
    tokens: int


def distance(found: Tensor, expected: Tensor) -> float:
    """Return ||found - expected|| / ||expected||, computed in float64 on the CPU; NaN and infinity stay."""
    found, expected = (x.detach().double().cpu().flatten() for x in (found, expected))
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def to(device: str, sample: Any) -> Any:
    """Return a sample, or a part of one, on the device."""
    return utils.move_to_cuda(sample) if device == "cuda" else sample


def small_model(method: str, given: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return a narrow model on the CPU, without dropout and with nothing at 0 or 1, and a batch.

    Args:
        method: a connection, or `arch:NAME`.
        given: further options, {"norm": "rms"}.
    """
    words, sample = fresh.corpus(None, ("en", "de"), TOKENS)
    model = fresh.build(method, LAYERS, WIDTH, 1, words, given)
    for module in model.modules():
        if isinstance(module, FairseqDropout):
            module.p = 0.0
    fresh.settle(model, sample)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():  # a gain, bias or scalar that is forgotten must show
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or ".connection." in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return model.train(), sample


def gradients(model: nn.Module) -> Tensor:
    """Return all gradients, one behind the other, in float64 on the CPU; a parameter that has none counts as 0."""
    each = (torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters())
    return torch.cat([g.detach().double().cpu().flatten() for g in each])


def random_sample(tokens: int, vocabulary: int) -> dict[str, Any]:
    """Return a translation batch of random words without padding: about `tokens` on each side."""
    random = torch.Generator().manual_seed(3)
    count = max(1, tokens // LENGTH)
    draw = lambda: torch.randint(4, vocabulary, (count, LENGTH), generator=random)  # noqa: E731
    source, target = draw(), draw()
    source[:, -1] = target[:, -1] = EOS
    return complete(collate(list(zip(source, target, strict=True))))


def complete(sample: dict[str, Any]) -> dict[str, Any]:
    """Return a batch with what a trainer reads besides."""
    target = sample["target"]
    about = {"id": torch.arange(len(target)), "nsentences": len(target), "ntokens": int(target.ne(PAD).sum())}
    return {**about, **sample}


def sizes(layers: str, width: int) -> list[str]:
    """Return the options for a model's sizes: heads of 64, the feed-forward layer four times as wide."""
    given = []
    for side, depth in zip(("encoder", "decoder"), layers.split("-"), strict=True):
        given += [f"--{side}-layers={depth}", f"--{side}-embed-dim={width}", f"--{side}-ffn-embed-dim={4 * width}"]
        given += [f"--{side}-attention-heads={max(4, width // 64)}"]
    return given


@contextlib.contextmanager
def data_folder(settings: Settings, words: Dictionary) -> Iterator[Path]:
    """Make a data folder that holds nothing but the dictionaries."""
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        for language in ("en", "de"):
            words.save(os.path.join(folder, f"dict.{language}.txt"))
        yield Path(folder)


def trainer(settings: Settings, device: str, words: Dictionary, method: str, arguments: list[str]) -> Trainer:
    """Return fairseq's trainer of a fresh translation model; Adam, clipping and label smoothing as in the paper."""
    with data_folder(settings, words) as data:
        given = [
            str(data),
            f"--arch={fresh.arch_of(method)}",
            "--task=translation",
            "--source-lang=en",
            "--target-lang=de",
        ]
        given += ["--optimizer=adam", "--adam-betas=(0.9, 0.98)", "--lr=1e-3", "--clip-norm=1.0", "--max-tokens=100000"]
        given += ["--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1", "--share-all-embeddings"]
        given += [
            "--no-progress-bar",
            f"--save-dir={settings.folder}",
            *([] if device == "cuda" else ["--cpu"]),
            *arguments,
        ]
        parsed = options.parse_args_and_arch(options.get_training_parser(), given)
        cfg = convert_namespace_to_omegaconf(parsed)
        torch.manual_seed(1)
        task = tasks.setup_task(cfg.task)
        made = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    made.begin_epoch(1)
    return made
