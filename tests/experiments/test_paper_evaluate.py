"""Rows of the paper's table: their form, failed trainings, the comparison of runs."""

import json
import random
from pathlib import Path

import numpy
import pytest
from fairseq.data import Dictionary, indexed_dataset

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.evaluation.score import Score
from b2t_fairseq.experiments import evaluate as paper_evaluate
from b2t_fairseq.experiments import train
from b2t_fairseq.experiments.evaluate import row, table
from b2t_fairseq.experiments.jobs.supervision import (
    DIVERGED,
    FAILED,
    STOPPED,
    TRAINING,
    Watch,
    refuse_another,
    report,
    unigram_bits,
)
from b2t_fairseq.experiments.tasks import PAPER_CORPORA
from b2t_fairseq.experiments.tasks.translation import paired_bootstrap

TRANSLATION, MT = PAPER_CORPORA["wmt_ende"]


def test_a_row_has_every_year_and_the_mean(tmp_path, monkeypatch):
    facts = {"signature": "connection:b2t|init:default|layers:18-18", "checkpoint": "average of 10", "updates": 50_000}
    monkeypatch.setattr(paper_evaluate, "averaged_facts", lambda run: facts)
    options = paper_evaluate.parse(["wmt_ende", "--run", str(tmp_path / "b2t")])
    scores = {test: {"BLEU": Score(20.0 + n, "nrefs:1", {})} for n, test in enumerate(MT.tests)}
    made = row(options, tmp_path / "b2t", scores, None)
    assert made["mean"] == 23.0 and (made["connection"], made["layers"]) == ("b2t", "18-18")
    failed = row(options, tmp_path / "post", None, "training failed: NaN")
    head, _, first, second, *_ = table(MT, MT.tests, [made, failed]).splitlines()
    assert head.count("newstest") == 7 and head.endswith("| mean |")
    assert first == "| b2t | 20.00 | 21.00 | 22.00 | 23.00 | 24.00 | 25.00 | 26.00 | 23.00 |"
    assert second.startswith("| post | training failed |") and second.count("|") == first.count("|")
    assert (made["metrics"], made["checkpoint"], made["updates"]) == (["BLEU"], "average of 10", 50_000)
    assert "--lenpen 0.6" in made["evaluated_by"]["newstest2014"]
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
    assert unigram_bits(
        TRANSLATION.target_counts(tmp_path, {"source-lang": "en", "target-lang": "de"})
    ) == pytest.approx(1.5)
    lm = tmp_path / "lm"
    lm.mkdir()
    write_binarised(lm / "train.bin", [[4, 5, 6, 2]])
    assert unigram_bits(PAPER_CORPORA["wikitext103"][0].target_counts(lm, {})) == pytest.approx(2.0)


def log_line(updates: int, loss: float) -> str:
    facts = {"num_updates": str(updates), "loss": "9", "nll_loss": str(loss), "ppl": "1", "ups": "1"}
    return f"2026-01-01 00:00:00 | INFO | train_inner | {json.dumps(facts)}\n"


def test_a_training_at_the_unigram_level_ends(tmp_path):
    def watch(after: int) -> Watch:
        found = Watch(lambda: None, after, within=0.5)
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
    (run / TRAINING).write_text('{"connection": "post", "layers": "18-18"}')
    assert report(1, None, "Minimum loss scale reached (0.0001).", False, run / "checkpoints", run / "log") == DIVERGED
    assert (run / FAILED).exists()
    assert paper_evaluate.main(["wmt_ende", "--run", str(run), "--data", str(data)]) == 0
    assert "| post-18-18 | training failed |" in capsys.readouterr().out
    made = json.loads((run / "row.json").read_text())
    assert made["failure"].startswith("training failed: Minimum loss scale")
    assert (made["connection"], made["layers"], made["scores"]) == ("post", "18-18", {})


def test_each_signature_is_shown_with_what_it_belongs_to():
    def made(run, **scores):
        return {"run": run, "failure": None, "scores": {"test": {n: {"signature": s} for n, s in scores.items()}}}

    columns = [("test", "ROUGE-1"), ("test", "ROUGE-2")]
    rows = [made("a", **{"ROUGE-1": "x", "ROUGE-2": "y"}), made("b", **{"ROUGE-1": "x", "ROUGE-2": "z"})]
    rows.append({"run": "c", "failure": "training failed"})
    wanted = ["- test ROUGE-1: x", "- a: test ROUGE-2: y", "- b: test ROUGE-2: z"]
    assert paper_evaluate.signature_lines(columns, rows) == wanted


def test_runs_whose_folders_have_one_name_stay_apart():
    options = paper_evaluate.parse(["wmt_ende", "--run", "one/b2t", "--run", "other/b2t", "--run", "pre/"])
    assert [paper_evaluate.name_of(options, run) for run in options.run] == ["one/b2t", "other/b2t", "pre"]


def test_a_run_of_another_corpus_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint1.pt").touch()
    (tmp_path / TRAINING).write_text('{"task": "gigaword"}')
    (tmp_path / "dict.txt").write_text("a 1\n")
    with pytest.raises(UserError, match="was trained on gigaword: use scripts/evaluate_gigaword.sh"):
        paper_evaluate.main(["wikitext103", "--run", str(tmp_path), "--data", str(tmp_path)])


def test_a_folder_with_another_training_is_refused(tmp_path):
    facts = {"task": "wmt_ende", "connection": "b2t", "layers": "6-6", "recipe": "paper", "seed": 1, "gpus": 8}
    refuse_another(tmp_path, facts)
    (tmp_path / TRAINING).write_text(json.dumps(facts))
    refuse_another(tmp_path, {**facts, "seed": 2})  # nothing is trained there yet
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint_last.pt").touch()
    refuse_another(tmp_path, {**facts, "gpus": 16})
    with pytest.raises(UserError, match="holds a training with seed 1, this one has 2"):
        refuse_another(tmp_path, {**facts, "seed": 2})


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


@pytest.mark.parametrize("status, evaluated", [(0, True), (DIVERGED, True), (STOPPED, False), (1, False)])
def test_evaluate_follows_a_training_that_has_ended(status, evaluated, tmp_path, monkeypatch):
    """A complete or a failed one gets its row; one that was stopped, or met an accident, resumes first."""
    calls = []
    monkeypatch.setattr(train, "supervise", lambda *arguments: status)
    monkeypatch.setattr(train.evaluate, "main", calls.append)
    (tmp_path / "data-bin").mkdir()
    words = ["wmt_ende", "--data", str(tmp_path), "--output", str(tmp_path / "run"), "--gpus", "1"]
    assert train.main([*words, "--evaluate", "--", "--cpu"]) == status
    where = ["--run", str(tmp_path / "run"), "--data", str(tmp_path / "data-bin")]
    assert [call[:5] for call in calls] == [["wmt_ende", *where]] * evaluated
    assert all(call[-2:] == ["--", "--cpu"] for call in calls)
