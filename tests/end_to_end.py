"""A tiny corpus and the real command lines, for tests that go from text to a score."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import torch

from b2t_fairseq import cli
from b2t_fairseq.corpora.embedded import english_german

ROOT = Path(__file__).parent.parent
SIZES = {"train": 160, "valid": 21, "test": 13}
LARGEST_TEST = 20
NARROW = [
    *("--arch", "transformer_b2t_18_18_tiny"),
    *(
        f"--{side}-{name}={value}"
        for side in ("encoder", "decoder")
        for name, value in (("layers", 2), ("embed-dim", 16))
    ),
    *("--encoder-ffn-embed-dim=24", "--decoder-ffn-embed-dim=24", "--share-all-embeddings", "--dropout=0.1"),
]
TRAINING = [
    *("--optimizer", "adam", "--lr", "0.003", "--lr-scheduler", "inverse_sqrt", "--warmup-updates", "4"),
    *("--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1", "--max-tokens", "400", "--cpu"),
    *("--seed", "3", "--log-format", "simple", "--log-interval", "1", "--num-workers", "0"),
]


def environment() -> dict[str, str]:
    """For child processes: one thread each (two OpenMP pools on two cores run 20 times slower), our checkout first."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def shell(*command, cwd: Path | None = None, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Run a command with its output captured as text; stderr goes with stdout."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 300, **options}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment(), **options)
    assert not check or done.returncode == 0, done.stdout
    return done


def ours(*arguments, **options) -> subprocess.CompletedProcess:
    """`python -m b2t_fairseq.cli ...` in a process of its own."""
    return shell(sys.executable, "-m", "b2t_fairseq.cli", *arguments, **options)


def inside(*arguments, status: int = 0) -> None:
    """Run `b2t-fairseq ...` inside this process, which saves the seconds of a start: what `here` is to a test.

    A data loader's worker, forked from a process with many threads, would be waited for five seconds in vain.
    """
    words = [str(argument) for argument in arguments]
    if words[0] in ("train", "generate", "validate", "eval-lm") and "--num-workers" not in words:
        words += ["--num-workers", "0"]
    assert cli.main(words) == status


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def command(name: str) -> str:
    """The path of fairseq's own command, which stands beside this Python."""
    return str(Path(sys.executable).with_name(name))


def make_data(directory: Path, test_size: int = SIZES["test"]) -> Path:
    """Text and binarised data of a few grammar sentences, word by word, with a joined dictionary."""
    splits = english_german.generate({**SIZES, "test": LARGEST_TEST}, seed=5)
    splits["test"] = splits["test"][:test_size]
    for split, pairs in splits.items():
        for side, language in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (directory / f"{split}.{language}").write_text(text, encoding="utf-8")
    prefixes = [f"--{split}pref={directory / split}" for split in SIZES]
    inside("preprocess", "-s", "en", "-t", "de", *prefixes, "--joined-dictionary", "--destdir", directory / "bin")
    return directory / "bin"


def hypotheses(generated: str) -> dict[int, str]:
    """fairseq-generate's H- lines by sentence number."""
    found = re.findall(r"^H-(\d+)\t\S+\t(.*)$", generated, flags=re.MULTILINE)
    assert len({number for number, _ in found}) == len(found)
    return {int(number): text for number, text in found}


def ordered_hypotheses(generated: str) -> list[str]:
    """fairseq-generate's hypotheses in the order of the test set."""
    return [text for _, text in sorted(hypotheses(generated).items())]


def weights(path: Path) -> dict[str, torch.Tensor]:
    from b2t_fairseq.checkpoints.loading import load_checkpoint

    return load_checkpoint(str(path))["model"]


@contextlib.contextmanager
def forgetting_methods():
    """Forget at the end what was registered inside: connections, their architectures, where they came from."""
    from fairseq import models

    from b2t_fairseq.connections import registry
    from b2t_fairseq.models import methods

    known = [registry.CONNECTIONS, methods.OWN, models.ARCH_MODEL_REGISTRY, models.ARCH_MODEL_NAME_REGISTRY]
    known.append(models.ARCH_CONFIG_REGISTRY)
    before = [dict(names) for names in known]
    try:
        yield
    finally:
        for names, kept in zip(known, before, strict=True):
            for new in names.keys() - kept.keys():
                del names[new]


@contextlib.contextmanager
def own_method(path: Path, name: str):
    """Write the example of docs/own_connection.md, a connection called `name`; forget it at the end."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own_connection.md").read_text(), re.S)[:1]
    path.write_text(example.replace('"rezero"', f'"{name}"'))
    with forgetting_methods():
        yield path
