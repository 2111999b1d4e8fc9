"""One small trained model of each task, in folders laid out as the quickstart leaves them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from end_to_end import NARROW, TRAINING, inside

from b2t_fairseq.corpora.embedded import dtmf, english_german
from b2t_fairseq.corpora.speech import layout
from b2t_fairseq.experiments import text_data

SPEECH_NARROW = [
    *("--arch", "s2t_transformer_b2t_6_6_tiny", "--conv-channels", "16", "--task", "speech_to_text"),
    *(
        f"--{side}-{name}={value}"
        for side in ("encoder", "decoder")
        for name, value in (("layers", 2), ("embed-dim", 16), ("ffn-embed-dim", 24), ("attention-heads", 2))
    ),
    *("--train-subset", "train", "--valid-subset", "valid", "--optimizer", "adam", "--lr", "0.003", "--seed", "3"),
    *("--criterion", "label_smoothed_cross_entropy_with_ctc", "--ctc-weight", "0.5", "--max-tokens", "2000"),
    *("--num-workers", "0", "--cpu"),
]
PAIRS = ["--criterion", "label_smoothed_cross_entropy", "--max-tokens", "900"]
LM = ["--arch", "transformer_lm_b2t_6_tiny", "--decoder-layers", "2", "--task", "language_modeling"]
LM += ["--tokens-per-sample", "24", "--max-tokens", "240", "--dropout", "0"]


def pairs(root: Path, source: str, target: str) -> SimpleNamespace:
    """Text, pieces, binarised data and a model of a few updates: `root/data-1`, `root/b2t-2-2-abc`."""
    splits = english_german.generate({"train": 160, "valid": 21, "test": 13}, seed=5)
    corpus, data = text_data.ParallelText(source, target, splits), root / "data-1"
    text_data.prepare(corpus, {"vocab_size": 150, "model_type": "bpe"}, data)
    prefixes = [f"--{split}pref={data}/{split}.pieces" for split in ("train", "valid", "test")]
    inside("preprocess", "-s", source, "-t", target, *prefixes, "--joined-dictionary", "--destdir", data / "bin")
    run, names = root / "b2t-2-2-abc", ["-s", source, "-t", target]
    inside("train", data / "bin", *NARROW, *TRAINING, *PAIRS, *names, "--max-update", "3", "--save-dir", run)
    (run / "checkpoint_last.pt").rename(run / "averaged.pt")
    return SimpleNamespace(run=run, data=data / "bin", folder=data)


@pytest.fixture(scope="session")
def translation(tmp_path_factory):
    return pairs(tmp_path_factory.mktemp("mt"), "en", "de")


@pytest.fixture(scope="session")
def summarization(tmp_path_factory):
    return pairs(tmp_path_factory.mktemp("titles"), "article", "title")


@pytest.fixture(scope="session")
def language_model(tmp_path_factory):
    root = tmp_path_factory.mktemp("lm")
    data = root / "data-1"
    data.mkdir()
    splits = english_german.generate({"train": 160, "valid": 21, "test": 13}, seed=5)
    for split, lines in splits.items():
        (data / f"{split}.txt").write_text("".join(f"{line}\n" for line, _ in lines), encoding="utf-8")
    texts = [f"--{split}pref={data}/{split}.txt" for split in splits]
    inside("preprocess", "--only-source", *texts, "--destdir", data / "bin")
    run = root / "b2t-2-abc"
    inside("train", data / "bin", *LM, *TRAINING, "--max-tokens", "240", "--max-update", "3", "--save-dir", run)
    (run / "checkpoint_last.pt").rename(run / "averaged.pt")
    return SimpleNamespace(run=run, data=data / "bin", folder=data)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    root = tmp_path_factory.mktemp("asr")
    dtmf.generate(root / "raw", {"train": 24, "valid": 5, "test": 4}, seed=2)
    layout.prepare(root / "raw", root / "data-1", vocab_size=40, specaugment="short")
    run = root / "b2t-2-2-abc"
    inside("train", root / "data-1", *SPEECH_NARROW, "--max-update", "2", "--save-dir", run)
    (run / "checkpoint_last.pt").rename(run / "averaged.pt")
    return SimpleNamespace(run=run, data=root / "data-1", folder=root / "data-1", raw=root / "raw")
