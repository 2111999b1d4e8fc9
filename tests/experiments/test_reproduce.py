"""`reproduce`: its plan, its mistakes, and cells that are made once, resumed, shared and reported."""

import json
import shutil
from pathlib import Path

import pytest

from b2t_fairseq import cli
from b2t_fairseq.evaluation.bleu import corpus_bleu
from b2t_fairseq.experiments import reproduce
from b2t_fairseq.experiments.laptop import EVALUATION_SECONDS, Clock, duration
from b2t_fairseq.experiments.rows import Results
from b2t_fairseq.experiments.scales import LaptopScale, PaperScale

SMALL = ["--seeds", "1", "--updates", "4", "--vocab-size", "150"]


@pytest.fixture(scope="module")
def made(pairs, tmp_path_factory) -> Path:
    """The output folder of one small cell, B2T at 6-6, made for Figure 5."""
    output = tmp_path_factory.mktemp("made") / "out"
    words = ["figure5", "--connections", "b2t", "--data", str(pairs), "--output", str(output), *SMALL]
    assert cli.main(["reproduce", *words]) == 0
    return output


def scale(*words: str) -> LaptopScale | PaperScale:
    options = reproduce.parse(words)
    return reproduce.SCALES[options.scale](options)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["tabel1"], "unknown target 'tabel1': choose from table1, "),
        (["table1", "--seeds", "1,1"], "--seeds 1,1"),
        (["table1", "--seeds", "one"], "--seeds one"),
        (["table1", "--seeds", "1,01"], "--seeds 1,01"),
        (["table1", "--seeds", ""], "--seeds : write different whole numbers"),
        (["table1", "--seeds", "4294967295"], "--seeds 4294967295: write different whole numbers up to 4000000000"),
        ([","], "unknown target '': choose from table1, "),
        (["table1", "--depths", "6-6,7-7"], "--depths 6-6,7-7: no target has 7-7; there are 6-6, 18-18, 60-12"),
        (["figure3", "--data", "no/such/folder"], "--data no/such/folder: there is no such folder"),
        (["table1", "--connections", "b2t,ghost"], "ghost"),
        (["table1", "--connections", "b2t,b2t"], "--connections needs different names"),
        (["table1", "--depths", "6-7"], "--depths 6-7: table1 has 6-6, 18-18, 60-12"),
        (["table1", "--updates", "0"], "--updates"),
        (["table1", "--jobs", "none"], "--jobs"),
        (["table1", "table2", "--data", "x"], "--data x belongs to one task, the targets are of mt, summarization"),
        (["table3", "--source", "de"], "--source"),
        (["table1", "--launcher", "slurm"], "--launcher slurm is for --scale paper"),
        (["table1", "--recompute"], "--recompute needs --output"),
        (["table1", "--data", "no/such/folder"], "no/such/folder"),
        (["table4", "--data", "{pairs}"], "{pairs}"),
        (["warmup", "--scale", "paper"], "warmup varies the training"),
        ([], "TARGET"),
    ],
)
def test_mistakes_are_one_line(words, sentence, pairs, capsys):
    words = [word.replace("{pairs}", str(pairs)) for word in words]
    assert cli.main(["reproduce", *words, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert sentence.replace("{pairs}", str(pairs)) in error


def test_the_plan_says_what_would_run_and_changes_nothing(pairs, tmp_path, capsys):
    output = tmp_path / "out"
    words = ["table1", "figure6", "--data", str(pairs), "--output", str(output), *SMALL]
    assert cli.main(["reproduce", *words, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "table1: Translation" in plan and "  9 cells, 0 done; about " in plan
    assert "  2 cells, 0 done, 2 shared with targets above; about " in plan and plan.count(" train ") == 9
    assert "mt pairs post 60-12 multi30k, 4 updates, seed 1: about " in plan and "in all: about " in plan
    assert "--encoder-layers" not in plan and "--seed 1 " in plan and not output.exists()


def test_only_some_depths(pairs, tmp_path, capsys):
    words = ["table1", "figure6", "--depths", "6-6,18-18", "--data", str(pairs), "--output", str(tmp_path), *SMALL]
    assert cli.main(["reproduce", *words, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "  6 cells, 0 done; about " in plan and "60-12" not in plan and plan.count(" train ") == 6


def test_all_at_paper_scale_leaves_out_what_has_no_form_there():
    laptop, paper = (reproduce.parse(["all", "--scale", name]).targets for name in ("laptop", "paper"))
    assert {t.name for t in laptop} - {t.name for t in paper} == {"warmup"}


def test_targets_are_the_papers_and_each_is_made_once():
    names = [target.name for target in reproduce.find_targets(["findings", "table1,figure1", "table5"], "laptop")]
    assert names == ["table1", "table2", "table3", "table4", "figure1", "table5"]
    every, at_paper_scale = (reproduce.find_targets(["all"], scale) for scale in ("laptop", "paper"))
    assert len(every) == 20 and {t.name for t in every} - {t.name for t in at_paper_scale} == {"warmup"}


def test_depth_is_all_that_differs_between_the_cells_of_a_table(tmp_path):
    """And the connection and the seed, of course."""
    cells = [cell for _, cell in scale("table1", "table9", "--output", str(tmp_path)).work.cells]
    trainings = {
        (cell.connection, *sorted((key, str(value)) for key, value in cell.train.items() if key != "seed"))
        for cell in cells
    }
    common = {tuple(options) for connection, *options in trainings if connection != "b2t_no_ln"}
    assert len(cells) == 3 * 11 and len(trainings) == 4 and len(common) == 1  # b2t_no_ln names the width of its beta


def test_a_cell_has_row_hypotheses_and_measurement(made, pairs):
    results = Results(made / "results" / "laptop")
    (row,) = results.rows().values()
    facts = {key: row[key] for key in ("task", "corpus", "connection", "layers", "recipe", "seed", "updates")}
    wanted = {"task": "mt", "corpus": "pairs", "connection": "b2t", "layers": "6-6", "recipe": "multi30k"}
    assert facts == {**wanted, "seed": 1, "updates": 4}
    assert row["failure"].startswith("training failed: after ")  # four updates
    assert " train runs/quickstart/" in row["command"] and str(made) not in row["command"]
    assert row["signature"].startswith("connection:b2t|") and row["parameters"] > 100_000
    assert row["machine"]["torch"] and row["seconds"]["train"] > 0 and row["counts"]["train pairs"] == 120
    references = (pairs / "test.de").read_text().splitlines()
    score = corpus_bleu(results.hypotheses(row["fingerprint"], "test"), references)
    assert row["scores"]["test"]["BLEU"]["score"] == score.score
    assert row["scores"]["test"]["BLEU"]["signature"] == score.signature
    (probe,) = (results.folder / "probes").iterdir()
    assert probe.name == f"similarity-b2t-6-6-trained-{row['fingerprint']}.jsonl"


def test_the_report_shows_it_beside_the_published_numbers(made):
    page, text = ((made / "results" / f"REPORT.{ending}").read_text() for ending in ("html", "md"))
    assert "laptop scale: pairs, recipe multi30k, 4 updates" in text
    assert "| B2T connection | 6-6    | 1     |" in text and "26.84" in text and "not in our copy" in text
    assert "b2t-fairseq reproduce table2" in text
    assert page.count('src="data:image/svg+xml,') == text.count("![") == 1
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    for line in text.splitlines():
        if line.startswith("!["):
            assert (made / "results" / line.rpartition("(")[2].rstrip(")")).is_file()


def test_what_is_done_is_not_done_again(made, pairs, capfd):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.pt")}
    words = ["figure5", "--connections", "b2t", "--data", str(pairs), "--output", str(made), *SMALL]
    assert "  1 cells, 1 done, 1 measurements, 0 to make" in "\n".join(scale(*words).plan())
    assert cli.main(["reproduce", *words]) == 0
    assert "$ python" not in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.pt")} == before


def test_a_row_counts_without_its_folder_and_a_folder_without_its_row(made, pairs, tmp_path):
    words = ["figure5", "--connections", "b2t", "--data", str(pairs), *SMALL]
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(made / "results", elsewhere / "results")
    assert "1 cells, 1 done" in "\n".join(scale(*words, "--output", str(elsewhere)).plan())
    other = tmp_path / "other"
    shutil.copytree(made / "quickstart", other / "quickstart")
    work = scale(*words, "--output", str(other)).work
    assert len(work.rows()) == 1 and not work.results.path.exists()
    work.adopt()
    assert len(work.results.rows()) == 1


def test_another_version_is_kept_apart_and_named(made, pairs, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(made / "results", output / "results")
    path = output / "results" / "laptop" / "rows.jsonl"
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "fingerprint": "0123456789ab"}) + "\n")
    words = ["figure5", "--connections", "b2t", "--data", str(pairs), "--output", str(output), *SMALL]
    plan = "\n".join(scale(*words).plan())
    assert "1 cells, 0 done" in plan and "note: 1 kept rows are of other versions" in plan and "0123456789ab" in plan


def test_a_failing_cell_stops_no_other(pairs, tmp_path, monkeypatch, capfd):
    """One cell's training cannot start; the report of the other is written, and the status says that one failed."""
    words = [
        "figure5",
        "--connections",
        "pre,b2t",
        "--data",
        str(pairs),
        "--output",
        str(tmp_path / "out"),
        *SMALL,
    ]
    made = scale(*words)
    cells = {cell.connection: cell for _, cell in made.work.cells}
    command = cells["pre"].chain.commands[0]
    object.__setattr__(command, "arguments", [*command.arguments, "--no-such-option"])
    monkeypatch.setitem(reproduce.SCALES, "laptop", lambda options: made)
    assert reproduce.main(words) == 1
    errors = capfd.readouterr().err
    assert (
        "cells: 2 of 2 ended, 1 failed" in errors and "failed: mt pairs pre 6-6 multi30k, 4 updates, seed 1: " in errors
    )
    assert [row["connection"] for row in made.results.rows().values()] == ["b2t"]
    assert "\nmt pairs pre 6-6 multi30k" in (tmp_path / "out" / "results" / "REPORT.md").read_text()


def test_the_papers_scale_plans_its_own_commands(tmp_path):
    made = scale("table1", "--scale", "paper", "--output", str(tmp_path))
    plan = made.plan()
    commands = [line for line in plan if "paper-train" in line]
    assert len(commands) == 9 and all(" --evaluate " in line and "--seed 1 " in line for line in commands)
    assert any("wmt_ende b2t 60-12 seed 1: about " in line and line.endswith("H100 hours") for line in plan)


def test_slurm_gets_one_job_for_each_cell(tmp_path, monkeypatch, capsys):
    calls = []

    def answer(command, **_):
        calls.append(command)
        return "Submitted batch job 7\n" if command[0] == "sbatch" else "7 waiting\n"

    monkeypatch.setattr("b2t_fairseq.common.processes.run", answer)
    words = ["table3", "--scale", "paper", "--launcher", "slurm", "--output", str(tmp_path)]
    assert scale(*words).make() == []
    assert [call[:3] for call in calls] == [["sbatch", "scripts/slurm/train.sbatch", "wikitext103"]] * 6
    calls.clear()
    assert scale(*words).make() == []
    assert {call[0] for call in calls} == {"squeue"} and "is in the queue already" in capsys.readouterr().out


def test_times_are_said_as_people_do():
    assert [duration(s) for s in (7, 89, 95, 3600, 8000)] == [
        "7 s",
        "89 s",
        "2 min",
        "1 h 0 min",
        "2 h 13 min",
    ]
    clock = Clock([100.0, 200.0, 300.0], jobs=2)
    assert clock.line(100.0, 0) == "cells: 1 of 3 ended; about 4 min left"
    assert clock.line(200.0, 1).startswith("cells: 2 of 3 ended, 1 failed; ")
    assert clock.line(300.0, 1) == "cells: 3 of 3 ended, 1 failed"


def test_times_are_estimated_by_the_rows_nearest_in_depth(tmp_path):
    """Starting takes as long for a shallow training as for a deep one."""
    work = scale("table1", "--seeds", "1", "--output", str(tmp_path)).work
    like = {"task": "mt", "recipe": "quickstart", "updates": 1200}
    rows = [{**like, "layers": layers, "seconds": {"train": s}} for layers, s in (("6-6", 300), ("18-18", 360))]
    work.kept = {str(number): row for number, row in enumerate(rows)}
    times = {cell.layers: work.seconds(cell) - EVALUATION_SECONDS * len(cell.tests) for _, cell in work.cells}
    assert times == {"6-6": pytest.approx(300), "18-18": pytest.approx(360), "60-12": pytest.approx(720)}


def test_frames_of_speech_are_not_counted_as_words(tmp_path):
    """By 3,000 frames: a quarter of them reaches the layers; the rows of results/laptop took 2 to 4 minutes."""
    work = scale("table4", "--seeds", "1", "--recompute", "--output", str(tmp_path)).work
    times = [work.seconds(cell) - EVALUATION_SECONDS * len(cell.tests) for _, cell in work.cells]
    assert min(times) > 60 and max(times) < 600


def test_no_two_cells_have_one_name(tmp_path):
    """The progress display tells them apart by it."""
    cells = [cell for _, cell in scale("all", "--output", str(tmp_path)).work.cells]
    names = [cell.name for cell in cells]
    assert len(names) > 200 and len(set(names)) == len(names)


def test_a_report_says_what_is_not_done(made, pairs, capsys):
    words = [
        "figure5",
        "--connections",
        "b2t,post",
        "--data",
        str(pairs),
        "--output",
        str(made),
        *SMALL,
        "--report",
    ]
    assert cli.main(["reproduce", *words]) == 0
    printed = capsys.readouterr().out
    assert "not done yet: mt pairs post 6-6 multi30k, 4 updates, seed 1\n" in printed and "REPORT.html" in printed


def test_an_output_folder_may_be_moved_and_half_prepared(made, pairs, tmp_path):
    """The binarised corpus is made again where its marker does not count; `preprocess` writes over nothing."""
    moved = tmp_path / "moved"
    shutil.copytree(made, moved)
    words = ["table1", "--depths", "6-6", "--connections", "pre", "--data", str(pairs), "--output", str(moved), *SMALL]
    (dictionary,) = moved.glob("quickstart/data-*/bin/dict.en.txt")
    dictionary.write_text("")
    assert cli.main(["reproduce", *words]) == 0
    assert dictionary.stat().st_size > 0
    assert [row["connection"] for row in Results(moved / "results" / "laptop").rows().values()] == ["b2t", "pre"]


def test_a_cell_without_its_log_has_no_row(made, pairs, tmp_path, capfd):
    """What it learned, and whether it failed, stands there alone."""
    shutil.copytree(made, tmp_path / "out")
    try:
        shutil.rmtree(made / "results")
        (log,) = made.glob("quickstart/b2t-*/train.log")
        log.write_bytes(b"\x00\xff{garbage}\n")
        (log.parent / "row.json").unlink()
        words = "figure5", "--connections", "b2t", "--data", str(pairs), "--output", str(made), "--recompute"
        assert cli.main(["reproduce", *words, *SMALL]) == 1
        assert f"{log} holds no losses: delete {log.parent} to train again" in capfd.readouterr().err
    finally:
        shutil.rmtree(made)
        shutil.copytree(tmp_path / "out", made)


def test_a_measurement_that_was_cut_short_is_made_again(made, pairs):
    """In the results and where it was made, beside the marker that says it is done."""
    (kept,) = (made / "results" / "laptop" / "probes").iterdir()
    (written,) = made.glob(f"quickstart/b2t-*/{kept.name}")
    whole = kept.read_text()
    for path in (kept, written):
        path.write_text(whole[: len(whole) // 2])
    words = "figure5", "--connections", "b2t", "--data", str(pairs), "--output", str(made)
    assert cli.main(["reproduce", *words, *SMALL]) == 0
    assert kept.read_text() == written.read_text() == whole


def test_another_corpus_of_the_same_name_is_measured_anew(pairs, tmp_path):
    def name(folder: str) -> str:
        words = "figure3", "--connections", "b2t", "--data", str(tmp_path / folder / "m"), "--vocab-size", "150"
        (measurement,) = scale(*words).measurements["figure3"]
        return measurement.name

    for folder in ("a", "b", "c"):
        shutil.copytree(pairs, tmp_path / folder / "m")
    text = tmp_path / "c" / "m" / "train.en"
    text.write_text(text.read_text().replace("a", "e", 1))
    assert name("a") == name("b") != name("c")
    assert name("c").startswith("gradients-b2t-18-18-w512-m-")


def test_what_came_with_the_project_counts_and_is_copied(made, pairs, tmp_path, monkeypatch, capfd):
    """With --output, for the cells that were asked for; --recompute leaves it out."""
    monkeypatch.setattr("b2t_fairseq.experiments.scale.kept_results", lambda: made / "results")
    words = ["figure5", "--connections", "b2t", "--data", str(pairs), *SMALL, "--output", str(tmp_path / "out")]
    assert "1 cells, 0 done" in "\n".join(scale(*words, "--recompute").plan())
    assert "1 cells, 1 done, 1 measurements, 0 to make" in "\n".join(scale(*words).plan())
    assert cli.main(["reproduce", *words]) == 0
    assert "$ python" not in capfd.readouterr().err
    theirs, ours = Results(made / "results" / "laptop"), Results(tmp_path / "out" / "results" / "laptop")
    assert ours.rows() == theirs.rows() and len(ours.rows()) == 1
    fingerprint = next(iter(ours.rows()))
    assert ours.hypotheses(fingerprint, "test") == theirs.hypotheses(fingerprint, "test")
    assert [path.name for path in (ours.folder / "probes").iterdir()] == [
        path.name for path in (theirs.folder / "probes").iterdir()
    ]
    assert "4 updates" in (tmp_path / "out" / "results" / "REPORT.md").read_text()


@pytest.mark.slow
def test_growth_is_measured_while_a_cell_trains(pairs, tmp_path, monkeypatch):
    monkeypatch.setitem(reproduce.get_target("growth").laptop, "probe_interval", 2)
    words = ["growth", "--connections", "peri", "--data", str(pairs), "--output", str(tmp_path), *SMALL]
    assert cli.main(["reproduce", *words]) == 0
    results = Results(tmp_path / "results" / "laptop")
    (row,) = results.rows().values()
    assert row["recipe"] == "quickstart+probe-interval=2"
    kept = results.folder / "probes" / f"growth-peri-18-18-during-{row['fingerprint']}.jsonl"
    records = [json.loads(line) for line in kept.read_text().splitlines()]
    assert {record["probe"] for record in records} == {"growth"}
    assert {record["update"] for record in records} == {0, 2, 4}
    assert {(record["side"], record["layer"]) for record in records} >= {("encoder", 1), ("decoder", 18)}
    pictures = {path.name.partition("-")[2].partition("-")[0] for path in tmp_path.rglob("growth-*.svg")}
    assert {"during", "after"} <= pictures
    assert "1 cells, 1 done, 2 measurements, 0 to make" in "\n".join(scale(*words).plan())
