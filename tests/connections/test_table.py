"""The table of all connections: numbers against arithmetic, and nothing left blank."""

import re

import pytest
from builders import ALL_CONNECTIONS

from b2t_fairseq import UserError
from b2t_fairseq.analysis.connections_table import main, table

D, N, M = 64, 4, 3
SUBLAYERS = 2 * N + 3 * M
# of 4 streams: W reads each, 6 numbers; 4 x 6 numbers scaled and added; the input, the streams, F; less Post-LN's sum
HYPER = 4 * 6 + 2 * 24 / D + 4 + 16 + 4 - 1


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in table([N, M], D)}


def test_every_connection_says_its_formula_and_its_paper(rows):
    assert tuple(rows) == ALL_CONNECTIONS
    for row in rows.values():
        assert re.search(r"[A-Z]\w+ .*(19|20)\d\d", row.paper), row.name
        assert len(row.formula) > 5, row.name


@pytest.mark.parametrize(
    ("name", "parameters", "norms", "sums"),
    [
        ("post", 0, 0, 0),
        ("pre", 2 * 2 * D, 2, 0),
        ("b2t", 0, 0, N + M),
        ("deepnet", 0, 0, SUBLAYERS),
        ("admin", SUBLAYERS * D, 0, SUBLAYERS),
        ("tfixup", -SUBLAYERS * 2 * D, -SUBLAYERS, 0),
        ("resi_dual", 2 * 2 * D, 2, SUBLAYERS + 2),
        ("peri", SUBLAYERS * 2 * D + 2 * 2 * D, SUBLAYERS + 2, 0),
        ("dlcl_post", (N + 1) ** 2 + (M + 1) ** 2 + (N + M) * 2 * D, N + M, 10 + 6 + 7 + 2),
        # the norm in the feed-forward sub-layer is 4 times as wide
        ("sub_ln", (N + M) * (2 * D + 2 * 4 * D) + 2 * 2 * D, (1 + 4) * (N + M) + 2, 0),
        ("span", 2 * 2 * D, 2, 0),
        ("siamese", SUBLAYERS * 4 * D + 2 * 3 * 2 * D, 2 * SUBLAYERS + 2 * 3, 3 * SUBLAYERS + 2),
        ("res_post", 2 * 2 * D, 2, 0),
        ("complete_p", 2 * 2 * D, 2, SUBLAYERS),
        ("hyper", SUBLAYERS * (2 * D + 6 * D + 4 * 6 + 2) + 2 * 2 * D, SUBLAYERS * 4 + 2, SUBLAYERS * HYPER + 2 * 3),
    ],
)
def test_numbers(rows, name, parameters, norms, sums):
    row = rows[name]
    assert row.parameters == parameters
    assert row.norms * (N + M) == pytest.approx(norms)
    assert row.sums * (N + M) == pytest.approx(sums, abs=0.01)


def test_it_is_printed(capsys):
    assert main(["--layers", "2", "--width", "8"]) == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"^{name} +(yes|no) +[+-]", printed, re.M) for name in ALL_CONNECTIONS)


@pytest.mark.parametrize("arguments", [["--layers", "0-3"], ["--layers", "six"], ["--width", "0"], ["--width", "200"]])
def test_wrong_sizes_are_refused(arguments):
    with pytest.raises(UserError, match=f"{arguments[1]}.* must be "):
        main(arguments)


def test_a_refusal_stands_alone(capsys):
    with pytest.raises(UserError, match="--unique-layers 5: a stack of 18 layers cannot be made of them"):
        main(["--share-layers", "cycle", "--unique-layers", "5"])
    assert capsys.readouterr().out == "", "the head of a table that does not follow"
