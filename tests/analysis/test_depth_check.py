"""The depth check finds what the paper found, on a few layers and updates."""

import contextlib
import json

import pytest

from b2t_fairseq import UserError, cli
from b2t_fairseq.analysis import depth_check, style
from b2t_fairseq.analysis.batches import make_batches, read_pairs
from b2t_fairseq.analysis.fresh import build
from b2t_fairseq.common.files import append_record


def test_post_ln_vanishes_with_depth_and_b2t_does_not():
    words, batches = make_batches(read_pairs(None)[:200], tokens=120)

    def ratio(connection: str) -> float:
        model = build(connection, "2-24", width=32, seed=1, words=words)
        gradient = depth_check.at_initialisation(model, batches[0])["decoder"]["gradient"]
        return gradient[0] / gradient[-1]

    ratios = {name: ratio(name) for name in ("post", "pre", "b2t")}
    assert ratios["post"] < 0.4 * min(ratios["pre"], ratios["b2t"]), ratios


def test_batches_hold_the_pairs():
    pairs = [("a b a b", "x y x"), ("b", "y"), ("a", "x y")]
    words, batches = make_batches(pairs, tokens=6)
    assert [tuple(batch["net_input"]["src_tokens"].shape) for batch in batches] == [(2, 5), (1, 2)]
    source, lengths, shifted = batches[0]["net_input"].values()
    target = batches[0]["target"]
    assert lengths.tolist() == [5, 2]
    assert source[1].tolist() == [1, 1, 1, words.index("b"), 2], "source padded on the left"
    assert shifted[1].tolist() == [2, words.index("y"), 1, 1]
    assert target[1].tolist() == [words.index("y"), 2, 1, 1]


@pytest.mark.slow
def test_table_figure_and_a_second_start(tmp_path, capsys):
    run = ["depth-check", "--connections", "post,admin,tfixup", "--layers", "2-2", "--updates", "3", "--width", "16"]
    run += ["--output", str(tmp_path), "--jobs", "1"]
    assert cli.main(run) == 0
    rows = [json.loads(line) for line in (tmp_path / "models.jsonl").read_text().splitlines()]
    assert [row["settings"][0] for row in rows] == ["post", "admin", "tfixup"]
    assert all(len(row["loss"]) == 3 and len(row["encoder"]["gradient"]) == 2 for row in rows)
    assert "| tfixup " in (tmp_path / "table.md").read_text()
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "models.jsonl").read_text()
    assert cli.main(run) == 0, "a second start computes nothing again"
    assert (tmp_path / "models.jsonl").read_text() == before


def test_the_figure_can_be_read(tmp_path, monkeypatch):
    """Three hues, one legend for all panels, whole numbers of layers, and narrow enough for a telephone."""
    seen = {}

    @contextlib.contextmanager
    def drawn(*arguments):
        with original(*arguments) as (figure, panels):
            yield figure, panels
            figure.canvas.draw()
            seen.update(figure=figure, panels=panels.ravel().tolist())
            seen["ticks"] = [axis.get_xticks().tolist() for axis in seen["panels"]]

    original = style.drawn
    monkeypatch.setattr(style, "drawn", drawn)
    side = {"gradient": [1.0, 2.0, 3.0], "variance": [1.0, 1.0, 2.0]}
    result = {"encoder": side, "decoder": side, "loss": [3.0, 2.0]}
    names, depths = ("post", "pre", "b2t"), ("3-3", "4-4")
    depth_check.draw({(name, layers): result for layers in depths for name in names}, tmp_path / "depth.png")
    assert seen["figure"].get_figwidth() <= 7
    assert all(tick == int(tick) for ticks in seen["ticks"] for tick in ticks), seen["ticks"]
    assert len(seen["figure"].legends) == 1 and not any(axis.get_legend() for axis in seen["panels"])
    assert [text.get_text() for text in seen["figure"].legends[0].get_texts()] == list(map(style.label, names))
    hues = [{"#D55E00": "orange", "#0072B2": "blue", "#009E73": "green"}[style.colour(name)] for name in names]
    assert len(set(hues)) == 3
    assert [line.get_color() for line in seen["panels"][0].get_lines()] == list(map(style.colour, names))
    assert [axis.get_title().split(", ")[-1] for axis in seen["panels"]] == ["3-3"] * 4 + ["4-4"] * 4


def test_wrong_options_are_refused():
    for wrong in (["--connections", "b3t"], ["--layers", "18"]):
        with pytest.raises(UserError):
            depth_check.parse(wrong)


def test_damaged_rows_are_left_out(tmp_path, capsys):
    side = {"gradient": [1.0], "variance": [float("nan")]}
    row = {"settings": ["b2t"], "encoder": side, "decoder": side, "loss": [3]}
    wrong = [row | {"loss": []}, row | {"encoder": {}}, row | {"decoder": side | {"variance": ["x"]}}, {"settings": []}]
    lines = [*map(json.dumps, [row, *wrong]), "[]", "null", "[" * 100_000, json.dumps(row)[:-9]]
    (tmp_path / "models.jsonl").write_text("\n".join(lines))
    assert [row["settings"] for row in depth_check.read_rows(tmp_path / "models.jsonl")] == [["b2t"]]
    assert capsys.readouterr().err.count("models.jsonl, line") == 5
    append_record(tmp_path / "models.jsonl", row | {"settings": ["pre"]})  # after the half line that a kill left
    append_record(tmp_path / "models.jsonl", row | {"settings": ["post"]})
    assert [row["settings"] for row in depth_check.read_rows(tmp_path / "models.jsonl")] == [["b2t"], ["pre"], ["post"]]
