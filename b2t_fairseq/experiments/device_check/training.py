"""fairseq's own trainer on the device: every precision, recomputation, compilation, fused steps, two workers.

loss           of the first update, relative difference from float32 on the CPU
gradient norm  likewise
losses         of three updates, largest relative difference of two ways to compute the same
parameters     ||a - b|| / ||a - start|| after three updates, a and b two ways to compute the same
"""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.logging import metrics
from torch import Tensor

from ...analysis import fresh
from ...common import processes
from ...common.command_line import ours
from ...corpora.embedded import english_german
from ...patches.fixes.cpu_precision import has_fast_bf16
from .bench import LAYERS, TOKENS, WIDTH, Case, Figure, NotRun, Settings, complete, distance, sizes, trainer

UPDATES, OVERFLOWS = 3, 8
PRECISIONS = {"float32": (), "fp16": ("--fp16", "--fp16-init-scale=128"), "bf16": ("--bf16",), "amp": ("--amp",)}
#: precision -> largest relative difference of the first loss, and of the gradient norm
LIMITS = {"float32": (1e-5, 1e-3), "fp16": (2e-3, 3e-2), "bf16": (1e-2, 2e-1), "amp": (1e-2, 2e-1)}
#: precision -> largest differences between two ways to compute the same: losses, and parameters
SAME = {"float32": (1e-5, 1e-2), "fp16": (2e-3, 1e-1), "bf16": (1e-2, 3e-1), "amp": (1e-2, 3e-1)}
#: precision -> the same for what the log says, which is rounded to three decimals
LOGGED = {"float32": 3e-4, "fp16": 5e-3}
#: a tensor, two, a tuple that grows, several streams, a sum over the layers
STREAMS = ("post", "b2t", "resi_dual", "dlcl_pre", "hyper", "attn_res")
NO_DROPOUT = ("--dropout=0",)
FUSED = ("--optimizer=adam_fused", "--criterion=label_smoothed_cross_entropy_fused")
WORKERS = 2
PAIRS, VALID = 400, 32  # sentences that commands train on, and translate
STEP = re.compile(r"\| train_inner \| (\{.*\})")
HYPOTHESIS = re.compile(r"^H-(\d+)\t\S+\t(.*)$", re.MULTILINE)


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the cases."""
    for precision in PRECISIONS:
        for method in settings.connections:
            yield Case("training", f"{method}, {precision}", functools.partial(compare, settings, method, precision))
    recompute, compiled = ("--checkpoint-activations",), ("--compile-layers",)
    for method in (name for name in STREAMS if name in settings.connections):
        for precision in ("float32", "fp16"):
            run = functools.partial(same, settings, method, precision, recompute, ())
            yield Case("recompute", f"{method} {recompute[0]}, {precision}", run)
    for precision in PRECISIONS:
        run = functools.partial(same, settings, "b2t", precision, FUSED, NO_DROPOUT)
        yield Case("fused", f"b2t {' '.join(FUSED)}, {precision}", run)
    for precision in ("float32", "amp"):
        run = functools.partial(same, settings, "b2t", precision, compiled, NO_DROPOUT)
        yield Case("compile", f"b2t {compiled[0]}, {precision}", run)
    for precision in ("float32", "fp16"):
        yield Case("commands", f"train and generate, {precision}", functools.partial(commands, settings, precision))
    for precision in ("float32", "fp16"):
        yield Case("workers", f"{WORKERS} against one, {precision}", functools.partial(workers, settings, precision))


def check_precision(settings: Settings, precision: str) -> None:
    """Raise NotRun where the device does not train like that."""
    if settings.device == "cpu" and precision == "fp16":
        raise NotRun("fairseq trains in fp16 on CUDA GPUs only")
    if settings.device == "cpu" and precision == "amp" and not has_fast_bf16():
        raise NotRun("this processor has no fast bfloat16")
    if settings.device == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise NotRun("this GPU has no bfloat16")


class Steps(NamedTuple):
    """A few updates of a small model: losses, gradient norms, and the parameters (P,) before and after."""

    losses: list[float]
    norms: list[float]
    before: Tensor
    after: Tensor


def steps(settings: Settings, device: str, method: str, arguments: tuple[str, ...]) -> Steps:
    """Train a small model for some updates."""
    words, sample = fresh.corpus(None, ("en", "de"), TOKENS)
    made = trainer(settings, device, words, method, [*sizes(LAYERS, WIDTH), *arguments])
    parameters = lambda: torch.cat([p.detach().double().cpu().flatten() for p in made.model.parameters()])  # noqa: E731
    before, losses, norms = parameters(), [], []
    for _ in range(UPDATES + OVERFLOWS):
        if made.train_step([complete(sample)]) is None:
            continue  # fp16: the gradients overflowed, and fairseq lowers its scale
        losses.append(noted("loss"))
        norms.append(noted("gnorm"))
        if len(losses) == UPDATES:
            return Steps(losses, norms, before, parameters())
    raise RuntimeError(f"the gradients overflowed {OVERFLOWS + UPDATES - len(losses)} times")


def noted(name: str) -> float:
    """Return what the trainer noted last, not rounded as its log is."""
    return float(metrics.get_meter("default", name).val)


@functools.lru_cache(maxsize=64)
def reference(settings: Settings, method: str) -> Steps:
    """Return `steps` on the CPU in float32 without dropout."""
    return steps(settings, "cpu", method, NO_DROPOUT)


def compare(settings: Settings, method: str, precision: str) -> list[Figure]:
    """Compare the first update in a precision with float32 on the CPU."""
    check_precision(settings, precision)
    expected = reference(settings, method)
    found = steps(settings, settings.device, method, (*NO_DROPOUT, *PRECISIONS[precision]))
    of_loss, of_norm = LIMITS[precision]
    return [
        Figure("loss", abs(found.losses[0] / expected.losses[0] - 1), of_loss),
        Figure("gradient norm", abs(found.norms[0] / expected.norms[0] - 1), of_norm),
        Figure("last loss", found.losses[-1], found.losses[0], "bits"),
    ]


def same(
    settings: Settings, method: str, precision: str, other: tuple[str, ...], always: tuple[str, ...]
) -> list[Figure]:
    """Compare training with some options and without them; dropout draws the same masks, or there is none."""
    check_precision(settings, precision)
    arguments = (*always, *PRECISIONS[precision])
    plain = steps(settings, settings.device, method, arguments)
    found = steps(settings, settings.device, method, (*arguments, *other))
    of_losses, of_parameters = SAME[precision]
    return [
        Figure("losses", largest_difference(found.losses, plain.losses), of_losses),
        Figure("parameters", distance(found.after - plain.before, plain.after - plain.before), of_parameters),
    ]


def largest_difference(found: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest relative difference of two lists; NaN if there is one."""
    each = [abs(a / b - 1) for a, b in zip(found, expected, strict=True)]
    return next((x for x in each if x != x), max(each))


def workers(settings: Settings, precision: str) -> list[Figure]:
    """Train with two processes, and with one that gathers two batches: the same updates."""
    check_precision(settings, precision)
    if settings.device == "cuda" and torch.cuda.device_count() < WORKERS:
        raise NotRun(f"this machine has {torch.cuda.device_count()} GPU")
    given = [*command_line(settings, precision), "--no-save", "--disable-validation", f"--max-update={UPDATES}"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={WORKERS}"]
    launch += ["-m", "b2t_fairseq.cli"]
    one = logged([*ours("train"), *given, f"--update-freq={WORKERS}", "--distributed-world-size=1"])
    two = logged([*launch, "train", *given])
    return [
        Figure(name, largest_difference([step[key] for step in two], [step[key] for step in one]), LOGGED[precision])
        for name, key in (("losses", "loss"), ("gradient norm", "gnorm"))
    ]


def commands(settings: Settings, precision: str) -> list[Figure]:
    """Train and translate by the commands that users type; translate with the same checkpoint on the CPU, too."""
    check_precision(settings, precision)
    run = settings.folder / f"run-{precision}"
    given = [*command_line(settings, precision), f"--save-dir={run}", f"--max-update={UPDATES}"]
    losses = [step["loss"] for step in logged([*ours("train"), *given, "--distributed-world-size=1"])]
    decode = [*ours("generate"), str(binarised(settings)), f"--path={run / 'checkpoint_last.pt'}", "--max-tokens=600"]
    decode += ["--gen-subset=valid", "--beam=4", "--max-len-b=12"]
    found, expected = (
        HYPOTHESIS.findall(processes.run([*decode, *more], env=processes.environment(OMP_NUM_THREADS="1")))
        for more in ([] if settings.device == "cuda" else ["--cpu"], ["--cpu"])
    )
    if len(expected) != VALID:
        raise RuntimeError(f"{len(expected)} of {VALID} sentences were translated")
    differing = sum(a != b for a, b in zip(sorted(found), sorted(expected), strict=True))
    return [Figure("hypotheses", differing / VALID, 0.1), Figure("last loss", losses[-1], losses[0], "bits")]


def command_line(settings: Settings, precision: str) -> list[str]:
    """Return options of `train` for a small model on the binarised corpus."""
    given = [str(binarised(settings)), "--arch=transformer_b2t_6_6", "--task=translation", *sizes(LAYERS, WIDTH)]
    given += ["--optimizer=adam", "--adam-betas=(0.9, 0.98)", "--lr=1e-3", "--clip-norm=1.0", "--max-tokens=300"]
    given += ["--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1", *NO_DROPOUT, *PRECISIONS[precision]]
    given += ["--log-format=json", "--log-interval=1"]
    return given if settings.device == "cuda" else [*given, "--cpu"]


def binarised(settings: Settings) -> Path:
    """Return a folder with some pairs of the embedded corpus, as fairseq reads them."""
    folder, text = settings.folder / "binarised", settings.folder / "text"
    if not folder.exists():
        text.mkdir()
        whole = english_german.generate(seed=1)
        for split, count in (("train", PAIRS), ("valid", VALID)):
            for language, lines in zip(("en", "de"), zip(*whole[split][:count], strict=True), strict=True):
                (text / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        given = ["-s", "en", "-t", "de", "--trainpref", str(text / "train"), "--validpref", str(text / "valid")]
        processes.run([*ours("preprocess"), *given, "--destdir", str(folder)])
    return folder


def logged(command: list[str]) -> list[dict[str, float]]:
    """Run a training; return what it logged of each update."""
    done = subprocess.run(command, capture_output=True, text=True, env=processes.environment(OMP_NUM_THREADS="1"))
    found = [json.loads(line) for line in STEP.findall(done.stdout + done.stderr)]
    if done.returncode or len(found) != UPDATES:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["it said nothing"]
        raise RuntimeError(f"training ended with status {done.returncode}: {said[-1]}")
    return [{key: float(value) for key, value in step.items() if key in ("loss", "gnorm")} for step in found]
