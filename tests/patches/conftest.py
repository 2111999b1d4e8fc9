"""Tiny data, one tiny trained model, and a way to start real fairseq commands with the plugin."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIZES = range(1, 21)  # sentences in the test sets test, test1, ... test19
MODEL = """
    --arch transformer_tiny --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16
    --encoder-ffn-embed-dim 16 --decoder-ffn-embed-dim 16 --share-decoder-input-output-embed
    --optimizer adam --lr 0.01 --max-tokens 200 --cpu
""".split()  # noqa: SIM905 (easier to read)
BLEU = ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 5}']


def _environment(**extra: str) -> dict[str, str]:
    # without a terminal's or a scheduler's settings, so that every machine sees the same run
    kept = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **extra}


#: from torch 2.14 on, fairseq's commands cause it before they import the plugin
UNAVOIDABLE = re.compile(r".*FutureWarning: `torch\.jit\.script` is deprecated.*\n\s+warnings\.warn\(\n")


@pytest.fixture(scope="session")
def run():
    """Run a command of the current environment; its stderr must hold no warning but the unavoidable."""

    def call(name, *arguments, plugin=True, status=0, warnings=False):
        command = [str(Path(sys.executable).parent / name), *map(str, arguments)]
        if plugin:
            command += ["--user-dir", str(ROOT / "b2t_fairseq")]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), timeout=300)
        assert done.returncode == status, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert warnings or "Warning:" not in UNAVOIDABLE.sub("", done.stderr), done.stderr
        return done

    return call


def _write(prefix, count, draw):
    words = [[f"w{draw.randrange(30)}" for _ in range(draw.randint(2, 12))] for _ in range(count)]
    Path(f"{prefix}.src").write_text("".join(" ".join(line) + "\n" for line in words))
    Path(f"{prefix}.tgt").write_text("".join(" ".join(reversed(line)) + "\n" for line in words))


@pytest.fixture(scope="session")
def data(tmp_path_factory, run):
    """Binarised pairs: train, valid (13 sentences) and one test set for each of `SIZES`."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(1)
    _write(folder / "train", 40, draw)
    _write(folder / "valid", 13, draw)
    for size in SIZES:
        _write(folder / f"test{size}", size, draw)
    tests = ",".join(str(folder / f"test{size}") for size in SIZES)
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--joined-dictionary"]
    splits = ["--trainpref", folder / "train", "--validpref", folder / "valid", "--testpref", tests]
    run("fairseq-preprocess", *languages, *splits, "--destdir", folder / "bin", plugin=False)
    return folder / "bin"


@pytest.fixture(scope="session")
def trained(data, run, tmp_path_factory):
    """A model trained for two epochs with BLEU as validation metric: its folder, arguments and output."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = [data, *MODEL, *BLEU, "--save-dir", folder, "--keep-best-checkpoints", "2", "--store-ema"]
    done = run("fairseq-train", *arguments, "--max-epoch", "2")
    return SimpleNamespace(folder=folder, last=folder / "checkpoint_last.pt", arguments=arguments, output=done.stdout)


@pytest.fixture(scope="session")
def sizes():
    """The sizes of the test sets, in order."""
    return SIZES


@pytest.fixture(scope="session")
def tiny_model():
    """The command-line options of the tiny model."""
    return MODEL


@pytest.fixture(autouse=True, scope="session")
def patched():
    """Apply the patches, whatever a test imports first."""
    from b2t_fairseq import patches

    patches.apply()
    return patches
