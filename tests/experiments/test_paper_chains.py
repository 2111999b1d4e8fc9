"""Each corpus of the paper from files of its published layout to the row of the table: prepare, train, evaluate.

Stand-ins of a few lines, narrow models, two epochs, folders with spaces in their names; everything else is the
recipe's.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from end_to_end import make_data, weights

from b2t_fairseq import cli
from b2t_fairseq.corpora.embedded import dtmf, english_german
from b2t_fairseq.corpora.fetching.manifest import Manifest
from b2t_fairseq.corpora.fetching.prepared import TestSet, describe
from b2t_fairseq.corpora.librispeech import ARCHIVES
from b2t_fairseq.experiments.tasks import PAPER_CORPORA

SIDES = ("encoder", "decoder")
STACKS = [
    *(f"--{side}-{name}=16" for side in SIDES for name in ("embed-dim", "ffn-embed-dim")),
    *(f"--{side}-{name}" for side in SIDES for name in ("layers=1", "attention-heads=2")),
]
NARROW = {
    "wmt_ende": [*STACKS, "--max-tokens=400"],
    "gigaword": [*STACKS, "--max-tokens=400"],
    "librispeech": [*STACKS, "--conv-channels=16", "--max-tokens=2000"],
    "wikitext103": [
        *(f"--decoder-{name}-dim=16" for name in ("embed", "input", "output", "ffn-embed")),
        *("--decoder-layers=1", "--decoder-attention-heads=2", "--tokens-per-sample=32", "--max-tokens=320"),
        *("--adaptive-input-cutoff=20,50", "--adaptive-softmax-cutoff=20,50"),
    ],
}
UTTERANCES = dict(zip(ARCHIVES, (20, 16, 12, 7, 6, 5, 9), strict=True))
YEARS = {2010: "test", 2014: "test1"}  # and what fairseq calls each
SENTENCES = {"train": 150, "valid": 12, "test": 17}
pytestmark = pytest.mark.slow


def ours(*arguments: Any, status: int = 0) -> None:
    assert cli.main([str(argument) for argument in arguments]) == status


def prepare(task: str, given: Path, data: Path, *further: Any) -> None:
    what = ["--from", given, "--output", data, "--workers", 1, "--need-free-gb", 0]
    ours("prepare", task.replace("_", "-"), *what, *further)


def train(task: str, connection: str, data: Path, run: Path, *further: str, gpus: int = 1) -> None:
    what = [
        "--connection",
        connection,
        "--layers",
        PAPER_CORPORA[task][1].depths[0],
        "--gpus",
        gpus,
        "--precision",
        "fp32",
    ]
    further = further or ("--max-epoch=2", "--update-freq=1", "--num-workers=0")
    further = [*NARROW[task], "--cpu", *further]
    ours("paper-train", task, "--data", data, "--output", run, *what, "--stop-after", 0, "--", *further)


def evaluate(task: str, data: Path, run: Path, *further: Any, status: int = 0) -> dict[str, Any]:
    """With the recipe's options, but for the average, which is of two epochs; the row."""
    text = PAPER_CORPORA[task][1].recipe.read_text(encoding="utf-8")
    config = data.parent / f"my {task}.yaml"
    config.write_text(text.replace("num-epoch-checkpoints: 10", "num-epoch-checkpoints: 2"), encoding="utf-8")
    cut = further.index("--") if "--" in further else len(further)
    what = ["--data", data, "--config", config, "--run", run, *further[:cut]]
    ours("paper-evaluate", task, *what, "--", "--cpu", *further[cut + 1 :], status=status)
    return {} if status else json.loads((run / "row.json").read_text(encoding="utf-8"))


def check_row(made: dict[str, Any], task: str, tests: int) -> None:
    """What a row says wherever it is read, without the folder that it is from."""
    facts = {key: made[key] for key in ("corpus", "connection", "recipe", "seed", "failure")}
    assert facts == {"corpus": task, "connection": "b2t", "recipe": "paper", "seed": 1, "failure": None}
    assert made["layers"] == ("1" if task == "wikitext103" else "1-1")
    assert made["checkpoint"] == "average of 2 (checkpoint2.pt, checkpoint1.pt)" and made["updates"] > 2
    assert made["signature"].startswith("connection:b2t|init:")
    assert len(made["scores"]) == len(made["evaluated_by"]) == tests
    for found in made["scores"].values():
        assert list(found) == made["metrics"]
        assert all(isinstance(score["score"], float) and score["counts"] for score in found.values())


@pytest.fixture(scope="module")
def sentences() -> dict[str, list[str]]:
    pairs = english_german.generate(SENTENCES, seed=4)
    return {split: [english for english, _ in found] for split, found in pairs.items()}


@pytest.fixture(scope="module")
def wikitext(sentences, tmp_path_factory) -> tuple[Path, Path]:
    """The files of WikiText-103, and what is prepared from them."""
    folder = tmp_path_factory.mktemp("language modelling")
    given, data = folder / "my files", folder / "wiki text"
    given.mkdir()
    for split, lines in sentences.items():
        text = " \n = A title = \n \n" + "".join(f" {line} <unk> @-@ x \n" for line in lines)
        (given / f"wiki.{split}.tokens").write_text(text, encoding="utf-8")
    prepare("wikitext103", given, data)
    return given, data


@pytest.fixture(scope="module")
def librispeech(tmp_path_factory) -> Path:
    """The folder of LibriSpeech's unpacked splits."""
    given = tmp_path_factory.mktemp("speech") / "my files"
    dtmf.generate(given / "LibriSpeech", UTTERANCES, seed=1)
    return given


def test_translation_from_a_prepared_folder_to_a_compared_row(tmp_path, capsys):
    data = tmp_path / "wmt ende"
    (data / "tests").mkdir(parents=True)
    make_data(data)
    (data / "bin").rename(data / "data-bin")
    for year in YEARS:
        shutil.copy(data / "test.de", data / "tests" / f"newstest{year}.de")
    for path in (data / "data-bin").glob("test.*"):
        shutil.copy(path, path.with_name(path.name.replace("test.", "test1.", 1)))
    tests = {
        f"newstest{year}": TestSet(subset, data / "tests" / f"newstest{year}.de") for year, subset in YEARS.items()
    }
    describe(Manifest(data, "wmt_ende"), tests)
    runs = [tmp_path / name for name in ("b2t", "pre")]
    for run in runs:
        train("wmt_ende", run.name, data, run)
    capsys.readouterr()
    made = evaluate("wmt_ende", data, runs[0], "--run", runs[1], "--tests", "newstest2010,newstest2014")
    printed = capsys.readouterr().out
    check_row(made, "wmt_ende", tests=2)
    bleu = made["scores"]["newstest2014"]["BLEU"]
    assert made["mean"] is None and bleu["counts"]["sentences"] == 13 and "tok:13a" in bleu["signature"]
    assert "| run | newstest2010 | newstest2014 | mean |" in printed
    assert "p against b2t" in printed and "newstest2014: pre p = " in printed
    logs = [(runs[0] / "evaluation" / f"newstest{year}.log").read_text() for year in (2010, 2014)]
    assert "'lenpen': 1.0" in logs[0] and "'lenpen': 0.6" in logs[1]


def test_headlines_from_files_to_rouge(sentences, tmp_path):
    given, data, run = tmp_path / "my files" / "org_data", tmp_path / "giga word", tmp_path / "a run"
    given.mkdir(parents=True)
    for split, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        titles = [line.lower() for line in sentences[split]]
        if split == "test":
            titles[3] = "##.## - ##"  # in a published test set, what ROUGE sees nothing of cannot be left out
        articles = "".join(f"{line} <unk> said ##.## of it is known .\n" for line in titles)
        (given / f"{name}.src.txt").write_text(articles, encoding="utf-8")
        (given / f"{name}.tgt.txt").write_text("".join(f"{line}\n" for line in titles), encoding="utf-8")
    prepare("gigaword", given.parent, data, "--merges", 60)
    train("gigaword", "b2t", data, run)
    made = evaluate("gigaword", data, run, "--", "--max-len-b=20")
    check_row(made, "gigaword", tests=1)
    assert made["metrics"] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    for name, score in made["scores"]["test"].items():
        assert score["counts"]["sentences"] == 17 and score["counts"]["references without a word"] == 1
        assert f"- test {name}: [" in (run / "row.md").read_text(encoding="utf-8")
    assert "--beam 4 --lenpen 1.0" in made["evaluated_by"]["test"]


def test_language_modelling_from_files_to_perplexity(wikitext, tmp_path, capsys):
    (given, data), run = wikitext, tmp_path / "a run"
    train("wikitext103", "b2t", data, run)
    evaluate("wikitext103", data, run, status=2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "the model reads 32 tokens at a time, and the evaluation's window is 512" in last
    made = evaluate("wikitext103", data, run, "--", "--tokens-per-sample=32", "--context-window=20")
    check_row(made, "wikitext103", tests=2)
    for split in ("valid", "test"):
        tokens = sum(len(line.split()) + 1 for line in (given / f"wiki.{split}.tokens").read_text().splitlines())
        found = made["scores"][split]["ppl"]
        assert found["counts"]["tokens"] == tokens and found["score"] > 1
        assert "window:32|context:20" in found["signature"]
    assert re.search(r"^\| a run \| \d+\.\d\d \| \d+\.\d\d \|$", (run / "row.md").read_text(), flags=re.MULTILINE)


def test_speech_from_audio_to_four_error_rates(librispeech, tmp_path):
    data, run = tmp_path / "libri speech", tmp_path / "a run"
    prepare("librispeech", librispeech, data, "--vocab-size", 40)
    train("librispeech", "b2t", data, run)
    made = evaluate("librispeech", data, run, "--", "--max-len-b=12")
    check_row(made, "librispeech", tests=4)
    assert {test: found["WER"]["counts"]["utterances"] for test, found in made["scores"].items()} == {
        test: UTTERANCES[test] for test in ("dev-clean", "dev-other", "test-clean", "test-other")
    }
    assert "| run | dev-clean | dev-other | test-clean | test-other |" in (run / "row.md").read_text()


@pytest.mark.parametrize("task", ["wikitext103", "librispeech"])
def test_two_processes_learn_what_one_does(task, request, tmp_path):
    """The same effective batch, 1 x 4 and 2 x 2, also by the other criteria, tasks and ways of adding up gradients.

    Without dropout and SpecAugment: these are drawn by each process. (Translation: test_paper_training.py.)
    """
    further = ["--max-update=6", "--num-workers=1", "--required-batch-size-multiple=1", "--warmup-updates=4"]
    further += [f"--{kind}dropout=0" for kind in ("", "attention-", "activation-")]
    if task == "wikitext103":
        data = request.getfixturevalue("wikitext")[1]
        further += ["--adaptive-softmax-dropout=0", "--max-tokens=64"]
    else:
        data = tmp_path / "without SpecAugment"
        given = request.getfixturevalue("librispeech")
        prepare(task, given, data, "--vocab-size", 40, "--specaugment", "none")
        further += ["--max-tokens=800"]
    for gpus in (1, 2):
        train(task, "b2t", data, tmp_path / str(gpus), *further, f"--update-freq={4 // gpus}", gpus=gpus)
    one, two = (weights(tmp_path / str(gpus) / "checkpoints" / "checkpoint_last.pt") for gpus in (1, 2))
    # fairseq saves buffers without content; a softmax does not see the keys' bias, whose gradient is rounding alone
    learned = [name for name in one if not name.endswith(("_float_tensor", "k_proj.bias"))]
    assert max(float((one[name] - two[name]).abs().max()) for name in learned) < 1e-4
    losses = [valid_losses(tmp_path / str(gpus) / "train.log") for gpus in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0]
    assert "training on 2 devices" in (tmp_path / "2" / "train.log").read_text(encoding="utf-8")


def valid_losses(log: Path) -> list[float]:
    """Of each validation set, after the last update."""
    return [float(loss) for loss in re.findall(r'"(?:valid|dev-\w+)_loss": "([\d.]+)"', log.read_text("utf-8"))]
