"""Rows: what is kept of a cell, and that nothing is lost when two processes keep at once."""

import json
import math
from multiprocessing import get_context
from pathlib import Path

import pytest

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.experiments.rows import Results, clean, read_row, thinned, unpack, write_row


def made(fingerprint: str, **changes) -> dict:
    facts = {"scale": "laptop", "task": "mt", "corpus": "embedded", "connection": "b2t", "layers": "6-6"}
    facts |= {"recipe": "quickstart", "seed": 1, "updates": 100, "failure": None, "scores": {}, "curve": {}}
    facts |= {"seconds": {}, "machine": {}}
    return {"fingerprint": fingerprint, **facts, **changes}


def test_rows_are_kept_sorted_with_their_hypotheses(tmp_path):
    results = Results(tmp_path / "laptop")
    assert results.rows() == {} and results.hypotheses("f2", "test") is None
    results.add(made("f2", seed=2), {"test": ["zwei Zeilen", "", "Ende ä"]})
    results.add(made("f1"), {})
    assert list(results.rows()) == ["f1", "f2"]
    assert results.hypotheses("f2", "test") == ["zwei Zeilen", "", "Ende ä"]
    results.add(made("f1", failure="training failed: x"), {})
    assert [row["failure"] for row in results.rows().values()] == ["training failed: x", None]
    assert results.path.read_text().count("\n") == 2


def test_the_same_hypotheses_are_the_same_bytes(tmp_path):
    files = []
    for name in ("a", "b"):
        Results(tmp_path / name).add(made("f"), {"test": ["x"]})
        files.append((tmp_path / name / "hypotheses" / "f.test.txt.gz").read_bytes())
    assert files[0] == files[1]


def test_a_damaged_row_is_noted_and_made_again(tmp_path, capsys):
    results = Results(tmp_path)
    results.add(made("f1"), {})
    with open(results.path, "a") as file:
        file.write('{"fingerprint": "f2", "scale"')
    assert list(results.rows()) == ["f1"] and "line 2" in capsys.readouterr().err


def test_damaged_hypotheses_are_one_line(tmp_path):
    path = tmp_path / "f.test.txt.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"f\.test\.txt\.gz cannot be read"):
        unpack(path)


def keep(folder: Path, first: int) -> None:
    for number in range(first, first + 15):
        Results(folder).add(made(f"f{number}"), {"test": [str(number)]})


def test_processes_that_keep_rows_at_once_lose_none(tmp_path):
    children = [get_context("fork").Process(target=keep, args=(tmp_path, first)) for first in (0, 100)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert len(Results(tmp_path).rows()) == 30


def test_a_cells_row_is_its_own(tmp_path):
    write_row(tmp_path, made("f1", unigram=math.nan), {"test": ["x"]})
    assert read_row(tmp_path, "f2") is None
    row = read_row(tmp_path, "f1")
    assert row is not None and row["unigram"] is None
    assert unpack(tmp_path / "hypotheses.test.txt.gz") == ["x"]


def test_curves_are_thinned_to_points_of_theirs():
    curve = {update: float(update) for update in range(1, 1001)}
    points = thinned(curve)
    assert len(points) == 60 and points[0] == [1, 1.0] and points[-1] == [1000, 1000.0]
    curve[500] = 0.5  # the lowest of a long curve is kept, the others stay where they were
    assert len(thinned(curve)) == 61 and set(map(tuple, points)) | {(500, 0.5)} == set(map(tuple, thinned(curve)))
    assert [501, 0.25] in thinned({**curve, 501: 0.25, 502: math.nan, 503: -math.inf})
    assert thinned({3: 0.5, 1: 2.0}) == [[1, 2.0], [3, 0.5]]
    assert json.loads(json.dumps(clean({"valid": thinned({1: math.inf})}))) == {"valid": [[1, None]]}
