"""Rows: what is kept of a cell, and that nothing is lost when two processes keep at once."""

import json
import math
from multiprocessing import get_context
from pathlib import Path

import pytest

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.experiments.rows import Results, clean, of_one_version, pack, read_row, thinned, unpack, write_row


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


def test_a_damaged_line_stays_when_a_row_is_added(tmp_path):
    """Also one that holds a row with an odd value, and bytes that are not UTF-8."""
    results = Results(tmp_path)
    results.add(made("f2"), {})
    damaged = [b'{"fingerprint": "f3", "scale"', b"\xff\xfe", json.dumps(made("f4", layers="deep")).encode()]
    results.path.write_bytes(results.path.read_bytes() + b"\n".join(damaged))
    for fingerprint in ("f1", "f5"):
        results.add(made(fingerprint), {})
    assert list(results.rows()) == ["f1", "f2", "f5"]
    assert sorted(results.path.read_bytes().splitlines()[3:]) == sorted(damaged)


def test_what_is_not_utf_8_is_kept_as_its_escapes(tmp_path):
    results = Results(tmp_path)
    results.add(made("f1", corpus="m\udcff", command="b2t-fairseq train 'm\udcff"), {})
    (row,) = results.rows().values()
    assert row["corpus"] == "m\\udcff" and of_one_version([row]) == [row]


POINT = {"valid": [[100, 2.5]]}


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"scores": {"test": 3}}, "scores"),
        ({"scores": {"test": {}}}, "scores"),
        ({"scores": {"test": {"BLEU": {"score": "high", "signature": "s"}}}}, "scores"),
        ({"scores": {"test": {"BLEU": {"score": 3.0}}}}, "scores"),
        ({"curve": {"valid": [1, 2]}}, "curve"),
        ({"curve": {"valid": [["a", 2.0]]}}, "curve"),
        ({"curve": {"valid": None}}, "curve"),
        ({"layers": "deep"}, "layers"),
        ({"seconds": {"train": None}}, "seconds"),
        ({"unigram": "x"}, "unigram"),
        ({"corpus": "a/b"}, "corpus"),
        ({"recipe": ""}, "recipe"),
    ],
)
def test_a_row_with_odd_values_is_noted_and_left_out(changes, word, tmp_path, capsys):
    results = Results(tmp_path)
    results.add(made("f1", curve=POINT), {})
    with open(results.path, "a") as file:
        file.write(json.dumps(made("f2", **{"curve": POINT} | changes)) + "\n")
    assert list(results.rows()) == ["f1"]
    assert f"row f2 is damaged and ignored (unexpected {word})" in capsys.readouterr().err
    write_row(tmp_path, made("f2", **{"curve": POINT} | changes), {})
    assert read_row(tmp_path, "f2") is None


def test_nan_in_a_file_is_no_number(tmp_path):
    results = Results(tmp_path)
    results.path.write_text(json.dumps(made("f1", curve={"valid": [[100, math.nan]]}, unigram=math.inf)) + "\n")
    assert results.rows()["f1"]["curve"] == {"valid": [[100, None]]} and results.rows()["f1"]["unigram"] is None


def test_versions_never_stand_in_one_table():
    def row(seed: int, day: int, lr: str = "1e-3", **changes) -> dict:
        command = f"b2t-fairseq train runs/x/data-{day}/bin --save-dir runs/x/{seed} --lr {lr} --seed {seed}"
        facts = {"seed": seed, "command": command, "machine": {"date": f"2026-11-0{day}"}, "unigram": 7.5}
        return made(f"f{seed}{day}{changes.get('connection')}", **facts | changes)

    alike = [row(1, 1), row(1, 1, connection="pre"), row(1, 1, "2e-3", connection="tfixup"), row(2, 2)]
    assert of_one_version(alike) == alike
    assert of_one_version([row(1, 1), row(1, 2)]) == [row(1, 2)]  # one cell twice
    assert of_one_version([row(1, 1), row(2, 2, "2e-3")]) == [row(2, 2, "2e-3")]  # another recipe for seed 2
    corpus = {"unigram": 7.6, "connection": "pre"}
    assert of_one_version([row(1, 1), row(1, 2, **corpus)]) == [row(1, 2, **corpus)]  # another corpus for Pre-LN
    assert len(of_one_version([row(1, 1), row(1, 2, updates=200, **corpus)])) == 2  # another table
    paper = [row(1, 1, scale="paper"), row(2, 2, scale="paper", command="sbatch train.sbatch")]
    assert of_one_version(paper) == paper


def test_a_number_of_many_digits_is_damage(tmp_path, capsys):
    results = Results(tmp_path)
    results.path.write_text(json.dumps(made("f1", updates=10**400)) + "\n")
    assert results.rows() == {} and "a number of 401 digits" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 14, -3])
def test_damaged_hypotheses_are_one_line(place, tmp_path):
    path = tmp_path / "f.test.txt.gz"
    pack(path, [f"line {number}" for number in range(100)])
    packed = bytearray(path.read_bytes())
    packed[place] ^= 0xFF
    path.write_bytes(packed)
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
