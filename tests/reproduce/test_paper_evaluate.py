"""Rows of the paper's table: their form, the comparison of runs, and the chain from checkpoints to a row."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from end_to_end import environment, make_data
from fairseq.data import Dictionary, indexed_dataset

from b2t_fairseq.errors import UserError
from b2t_fairseq.evaluation.score import Score
from b2t_fairseq.reproduce import paper_evaluate
from b2t_fairseq.reproduce.launch import DIVERGED, FAILED, Watch, report, unigram_bits
from b2t_fairseq.reproduce.paper_evaluate import paired_bootstrap, row, table
from b2t_fairseq.reproduce.paper_recipe import CONFIGS, TASKS

ROOT = Path(__file__).resolve().parents[2]
MT = TASKS["wmt_ende"]


def test_a_row_has_every_year_and_the_mean(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_evaluate, "signature", lambda path: "connection:b2t|init:default|layers:18-18")
    options = paper_evaluate.parse(["wmt_ende", "--run", str(tmp_path / "b2t")])
    scores = {test: {"BLEU": Score(20.0 + n, "nrefs:1", {})} for n, test in enumerate(MT.tests)}
    made = row(options, tmp_path / "b2t", scores, None)
    assert made["mean"] == 23.0 and (made["connection"], made["layers"]) == ("b2t", "18-18")
    failed = row(options, tmp_path / "post", None, "training failed: NaN")
    head, _, first, second, *_ = table(MT, MT.tests, [made, failed]).splitlines()
    assert head.count("newstest") == 7 and head.endswith("| mean |")
    assert first == "| b2t | 20.00 | 21.00 | 22.00 | 23.00 | 24.00 | 25.00 | 26.00 | 23.00 |"
    assert second.startswith("| post | training failed |") and second.count("|") == first.count("|")
    del scores["newstest2010"]  # a mean of a part is none
    assert row(options, tmp_path / "b2t", scores, None)["mean"] is None


def test_paired_bootstrap_sees_a_difference_and_none():
    draw = random.Random(1)
    truth = [" ".join(f"w{draw.randrange(40)}" for _ in range(12)) for _ in range(60)]
    good = [line if n % 3 else line.replace("w1", "x") for n, line in enumerate(truth)]
    bad = ["x " + line[5:] for line in good]
    results = paired_bootstrap({"good": good, "same": good, "bad": bad}, truth)
    assert [found["run"] for found in results] == ["good", "same", "bad"]
    assert results[0]["p"] is None and results[1]["p"] == 1 and results[2]["p"] < 0.01
    assert results[2]["BLEU"] < results[0]["BLEU"] and "bs:1000" in results[0]["signature"]


def write_binarised(path: Path, sentences: list[list[int]]) -> None:
    import torch

    builder = indexed_dataset.make_builder(str(path), impl="mmap", vocab_size=len(Dictionary()) + 10)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence, dtype=torch.int32))
    builder.finalize(str(path.with_suffix(".idx")))


def test_the_unigram_level_is_the_target_sides_entropy(tmp_path):
    write_binarised(tmp_path / "train.en-de.en.bin", [[4, 5, 6, 7, 8, 2]] * 3)
    write_binarised(tmp_path / "train.en-de.de.bin", [[4, 4, 5, 2], [4, 4, 5, 2]])
    assert unigram_bits(MT, tmp_path) == pytest.approx(1.5)
    lm = tmp_path / "lm"
    lm.mkdir()
    write_binarised(lm / "train.bin", [[4, 5, 6, 2]])
    assert unigram_bits(TASKS["wikitext103"], lm) == pytest.approx(2.0)


def log_line(updates: int, loss: float) -> str:
    facts = {"num_updates": str(updates), "loss": "9", "nll_loss": str(loss), "ppl": "1", "ups": "1"}
    return f"2026-01-01 00:00:00 | INFO | train_inner | {json.dumps(facts)}\n"


def test_a_training_at_the_unigram_level_ends(tmp_path):
    def watch(after: int) -> Watch:
        found = Watch(MT, tmp_path, after, within=0.5)
        found.level = 9.0
        return found

    learns, stays, patient = watch(1000), watch(1000), watch(0)
    for updates in range(100, 3000, 100):
        assert learns.verdict(log_line(updates, 12 - updates / 200)) is None
        assert patient.verdict(log_line(updates, 9.1)) is None
        sentence = stays.verdict(log_line(updates, 9.1))
        assert (sentence is None) == (updates < 1000)
    assert "after 2900 updates the loss is still 9.10 bits" in sentence and "9.00" in sentence
    assert "the loss is nan" in watch(0).verdict(log_line(100, numpy.nan).replace("NaN", "nan"))
    assert stays.verdict("| INFO | something else\n") is None


def test_a_failed_training_is_a_row(tmp_path, capsys):
    """What paper-train leaves behind becomes the table's cell; nothing is decoded."""
    run, data = tmp_path / "post-18-18", tmp_path / "data"
    (run / "checkpoints").mkdir(parents=True)
    data.mkdir()
    (data / "dict.en.txt").write_text("a 1\n")
    assert report(1, None, "Minimum loss scale reached (0.0001).", False, run / "checkpoints", run / "log") == DIVERGED
    assert (run / FAILED).exists()
    assert paper_evaluate.main(["wmt_ende", "--run", str(run), "--data", str(data)]) == 0
    assert "| post-18-18 | training failed |" in capsys.readouterr().out
    assert json.loads((run / "row.json").read_text())["failure"].startswith("training failed: Minimum loss scale")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--run", "no/such", "--data", "DATA"], "no checkpoints there; train first"),
        (["--run", "no/such", "--data", "no/data"], "run scripts/prepare_wmt_ende.sh first"),
        (["--run", "x", "--tests", "newstest2009"], "--tests newstest2009: wmt_ende has newstest2010"),
        (["--run", "x", "--run", "./x"], "the same folder twice"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path):
    (tmp_path / "dict.en.txt").write_text("a 1\n")
    with pytest.raises(UserError, match=sentence):
        paper_evaluate.main(["wmt_ende", *(str(tmp_path) if a == "DATA" else a for a in arguments)])


@pytest.mark.slow
def test_from_a_prepared_folder_to_a_compared_row(tmp_path):
    """Two narrow trainings on stand-in data in the layout of the preparation, one of them stopped and resumed."""
    data = tmp_path / "wmt ende"
    (data / "tests").mkdir(parents=True)
    (data / "tests-subwords").mkdir()
    make_data(data)
    (data / "bin").rename(data / "data-bin")
    for year in (2010, 2014):
        shutil.copy(data / "test.en", data / "tests-subwords" / f"newstest{year}.en")
        shutil.copy(data / "test.de", data / "tests" / f"newstest{year}.de")
    for path in (data / "data-bin").glob("test.*"):
        shutil.copy(path, path.with_name(path.name.replace("test.", "test1.", 1)))
    config = tmp_path / "my.yaml"
    text = (CONFIGS / "wmt_ende.yaml").read_text(encoding="utf-8")
    config.write_text(text.replace("num-epoch-checkpoints: 10", "num-epoch-checkpoints: 2"), encoding="utf-8")

    def ours(*arguments):
        command = [sys.executable, "-m", "b2t_fairseq.cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    sizes = [f"--{side}-{name}=16" for side in ("encoder", "decoder") for name in ("embed-dim", "ffn-embed-dim")]
    sizes += [f"--{side}-layers=1" for side in ("encoder", "decoder")]
    runs = [tmp_path / name for name in ("b2t", "pre")]
    for run in runs:
        what = ["--connection", run.name, "--layers", "6-6", "--gpus", 1, "--precision", "fp32", "--stop-after", 0]
        further = [*sizes, "--cpu", "--max-epoch=2", "--max-tokens=400", "--update-freq=1", "--num-workers=0"]
        ours("paper-train", "wmt_ende", "--data", data, "--output", run, *what, "--", *further)
    evaluate = [
        "paper-evaluate",
        "wmt_ende",
        "--data",
        data,
        "--config",
        config,
        "--tests",
        "newstest2010,newstest2014",
    ]
    printed = ours(*evaluate, "--run", runs[0], "--run", runs[1], "--", "--cpu")
    made = json.loads((runs[0] / "row.json").read_text())
    assert (made["connection"], made["layers"], made["mean"]) == ("b2t", "1-1", None)
    bleu = made["scores"]["newstest2014"]["BLEU"]
    assert bleu["counts"]["sentences"] == 13 and "tok:13a" in bleu["signature"]
    assert "| run | newstest2010 | newstest2014 | mean |" in printed
    assert "p against b2t" in printed and "newstest2014: pre p = " in printed
    logs = [(runs[0] / "evaluation" / f"newstest{year}.log").read_text() for year in (2010, 2014)]
    assert "'lenpen': 1.0" in logs[0] and "'lenpen': 0.6" in logs[1]
