"""The table and the files of the report."""

import json
import math

from b2t_fairseq.evaluation.score import Score
from b2t_fairseq.experiments.jobs.progress import History
from b2t_fairseq.experiments.report import Row, draw_curves, signatures, table, write_results

ROWS = [
    Row("post", parameters=3_000_000, train_perplexity=math.nan, failure="training failed (NaN)"),
    Row("pre", parameters=3_000_000, train_perplexity=4.0, failure="decode pre 18-18 test failed: no memory"),
    Row(
        "b2t",
        "connection:b2t",
        3_000_000,
        9.25,
        8.04,
        {"test": {"BLEU": Score(31.204, "nrefs:1", {})}},
        checkpoint="b2t.pt",
    ),
    Row("lexicon", "baseline", scores={"test": {"BLEU": Score(9, "nrefs:1", {})}}, checkpoint="none"),
]


def test_table():
    assert table(ROWS, [("BLEU", "test")]).splitlines() == [
        "| connection | parameters | train ppl | valid ppl |       BLEU test |",
        "|------------|-----------:|----------:|----------:|----------------:|",
        "| post       |  3,000,000 |       NaN |         – | training failed |",
        "| pre        |  3,000,000 |       4.0 |         – |          failed |",
        "| b2t        |  3,000,000 |       9.2 |       8.0 |           31.20 |",
        "| lexicon    |          – |         – |         – |            9.00 |",
    ]


def test_every_score_has_its_line():
    assert signatures(ROWS, [("BLEU", "test")]).splitlines() == [
        "BLEU 31.20 | split:test | checkpoint:b2t.pt | connection:b2t | nrefs:1",
        "BLEU 9.00 | split:test | checkpoint:none | baseline | nrefs:1",
    ]


def test_files(tmp_path):
    histories = {"b2t": History(train={10: 8.0, 20: math.nan}, valid={20: 6.0}), "post": History()}
    draw_curves(histories, tmp_path / "curves.png", "18-18 layers")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    write_results(tmp_path / "results.json", ROWS, histories, {"updates": 450}, {"training": 1.5})
    results = json.loads((tmp_path / "results.json").read_text())
    assert (
        results["rows"][0]["train_perplexity"] is None
        and results["rows"][2]["scores"]["test"]["BLEU"]["score"] == 31.204
    )
    assert results["curves"]["b2t"]["train"] == {"10": 8.0, "20": None}
    assert not list(tmp_path.glob("*.tmp"))
