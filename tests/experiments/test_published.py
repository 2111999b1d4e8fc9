"""The paper as data: every number is in the paper's text, and none changes unnoticed."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.connections import CONNECTIONS
from b2t_fairseq.experiments.published import FAILED, MISSING, TARGETS, all_targets, elsewhere, get_target, read_target
from b2t_fairseq.experiments.tasks import PAPER_CORPORA, TASKS

#: of all published scores, in order: an edit by mistake is seen where the paper's text is not at hand
DIGEST = "a5a2870983b67551"
ELSEWHERE_DIGEST = "a837b55e4da8a427"
TABLES = [target for target in all_targets() if target.rows]


def paper() -> str | None:
    """The text of the paper, where it is at hand."""
    folders = [
        os.environ.get("B2T_SEEDS"),
        os.environ.get("B2T_DATA") and Path(os.environ["B2T_DATA"]).parent / "seeds",
    ]
    texts = [path.read_text(encoding="utf-8") for folder in folders if folder for path in Path(folder).glob("002*")]
    return texts[0] if texts else None


def lines_of_table(text: str, number: str) -> list[str]:
    """The lines between a table's caption and the next empty line after its rows."""
    start = text.index(f"\nTable {number}:")
    return re.split(r"\n\n(?!Method)", text[start + 1 :], maxsplit=1)[0].splitlines()


@pytest.mark.parametrize("target", TABLES, ids=lambda target: target.name)
def test_published_numbers_stand_in_the_paper(target):
    text = paper()
    if text is None:
        pytest.skip("the paper's text is not at hand: set B2T_SEEDS to the folder that holds it")
    if target.rows[0].scores == MISSING:
        assert f"\nTable {target.name[5:]}:" not in text
        return
    lines, depth = lines_of_table(text, target.name[5:]), ""
    printed = set()
    for line in lines:
        if match := re.match(r"(?:Enc-Dec|Dec): (\d+)L(?:-(\d+)L)?", line):
            depth = "-".join(filter(None, match.groups()))
        label, *cells = line.split("\t")
        printed.add((re.sub(r" \[\d+\]", "", label), depth, tuple(filter(None, cells))))
    for row in target.rows:
        if row.scores == FAILED:
            assert any(p[:2] == (row.label, row.layers) and p[2][0] == "Training failed" for p in printed), row
            continue
        numbers = tuple(f"{score:.2f}" for score in [*row.scores, *([row.mean] if row.mean is not None else [])])
        assert (row.label, row.layers, numbers) in printed, row


def test_no_row_of_the_paper_is_left_out():
    text = paper()
    if text is None:
        pytest.skip("the paper's text is not at hand: set B2T_SEEDS to the folder that holds it")
    for target in TABLES:
        if target.rows[0].scores != MISSING and target.name != "methods":
            printed, depth = [], ""
            for line in lines_of_table(text, target.name[5:]):
                if match := re.match(r"(?:Enc-Dec|Dec): (\d+)L(?:-(\d+)L)?", line):
                    depth = "-".join(filter(None, match.groups()))
                elif re.search(r"\t(\d+\.\d\d|Training failed)", line):
                    printed.append((re.sub(r" \[\d+\]", "", line.split("\t")[0]), depth))
            ours = dict.fromkeys((row.label, row.layers) for row in target.rows)  # DLCL's row stands for two
            assert list(ours) == printed, target.name


def test_no_published_number_has_changed():
    numbers = [(t.name, r.label, r.connection, r.layers, r.scores, r.mean) for t in TABLES for r in t.rows]
    assert hashlib.sha256(repr(numbers).encode()).hexdigest()[:16] == DIGEST


def test_published_means_are_the_means_of_their_rows():
    for target in TABLES:
        for row in target.rows:
            if row.mean is not None:
                assert row.mean == pytest.approx(sum(row.scores) / len(row.scores), abs=0.0051), (target.name, row)


def test_what_the_paper_repeats_by_mistake_is_marked():
    ours = {(row.connection, row.layers): row for row in get_target("table9").rows}
    same = [row for row in get_target("table1").rows if row.scores == ours["b2t", "18-18"].scores]
    assert [row.layers for row in same] == ["60-12"]
    assert "open" in ours["b2t", "18-18"].note and "18-18 or 60-12" in ours["b2t_no_ln", "18-18"].note


def test_targets_fit_what_the_project_has():
    for target in all_targets():
        assert target.task in TASKS and PAPER_CORPORA[target.corpus][0] is TASKS[target.task]
        corpus = PAPER_CORPORA[target.corpus][1]
        for connection, layers in [*target.models(), *target.trained_models()]:
            assert connection in CONNECTIONS and layers in corpus.depths, (target.name, layers)
        for metric, test in target.columns:
            assert metric in TASKS[target.task].metrics and test in corpus.tests
    assert get_target("methods").models() == [(name, n) for n in ("6-6", "18-18") for name in CONNECTIONS]


def test_an_unknown_target_is_one_line():
    with pytest.raises(UserError, match=f"unknown target 'table7': choose from {TARGETS[0]}, "):
        get_target("table7")


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("kind: table", "kind: chart", "kind 'chart'"),
        ("connection: post", "connection: ghost", "ghost"),
        ("24.27, ", "", "row Post-LN 6-6: 6 scores"),
        ("scores: failed", "scores: none", "scores 'none'"),
        ("updates: ", "update: ", "laptop.update"),
        ("task: mt", "job: mt", "job"),
    ],
)
def test_a_malformed_file_is_one_line(old, new, sentence, tmp_path):
    source = (Path(read_target.__wrapped__.__globals__["FOLDER"]) / "table1.yaml").read_text(encoding="utf-8")
    file = tmp_path / "table1.yaml"
    file.write_text(source.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_target(file)


def test_tables_of_other_papers_name_methods_of_ours():
    tables = elsewhere()
    rows = [row for table in tables for row in table.rows]
    assert len(tables) == 5 and all(table.source for table in tables)
    assert {connection for _, connection, _, _ in rows} - {None} <= set(CONNECTIONS)
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == ELSEWHERE_DIGEST


def test_their_numbers_stand_in_our_notes():
    data = os.environ.get("B2T_DATA")
    notes = Path(data).parent / "METHODS_NEW.md" if data else None
    if notes is None or not notes.is_file():
        pytest.skip("METHODS_NEW.md is not at hand: set B2T_DATA to the folder beside it")
    text = notes.read_text(encoding="utf-8").rpartition("Published numbers")[2]
    for table in elsewhere():
        for label, _, scores, _ in table.rows:
            assert scores == FAILED or all(
                re.search(rf"\b{score:.2f}0?\b|\b{score:.3f}\b", text) for score in scores
            ), label
