"""A method of the user's, and a fairseq architecture, beside ours: in one table and one figure, by one command."""

import json

import pytest
from end_to_end import inside, ours, own_method

from b2t_fairseq import UserError, cli
from b2t_fairseq.analysis import style
from b2t_fairseq.experiments import quickstart, reproduce, train
from b2t_fairseq.experiments.rows import Results
from b2t_fairseq.models import methods

STOCK = "arch:transformer_iwslt_de_en"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The example of docs/own_connection.md as `mine.py`."""
    with own_method(tmp_path_factory.mktemp("code") / "mine.py", "mine") as path:
        yield path


def laptop(*words):
    return reproduce.SCALES["laptop"](reproduce.parse([str(word) for word in words]))


def test_the_one_command_plans_a_table_and_a_gradient_figure(mine, pairs, tmp_path):
    words = ["methods", "table1", "figure3", "depth", "--connections", f"post,mine,{STOCK}", "--data", pairs]
    made = laptop(*words, "--connection-module", mine, "--output", tmp_path, "--seeds", "1", "--depths", "18-18")
    cells = {cell.connection: cell for _, cell in made.cells["methods"]}
    assert cells.keys() == {"post", "mine", STOCK}
    for connection, cell in cells.items():
        train, average, *evaluations = (command.arguments for command in cell.chain.commands)
        code = ["--connection-module", str(mine)]
        for command in (train, *evaluations):
            assert (command[-2:] == code) == (connection == "mine")
        assert "--connection-module" not in average and ":" not in cell.folder.name
    assert "transformer_mine_18_18_tiny" in cells["mine"].architecture
    architecture = cells[STOCK].architecture
    assert architecture[:4] == ["--arch", "transformer_iwslt_de_en", "--encoder-layers", "18"]
    assert architecture[architecture.index("--decoder-ffn-embed-dim") + 1] == "256"
    fresh = [measurement for measurement in made.measurements["figure3"] if "-mine-" in measurement.name]
    assert [m.arguments[-2:] for m in fresh] == [("--connection-module", str(mine))]
    assert methods.code_key("mine") in fresh[0].name
    (depth,) = made.measurements["depth"]
    assert depth.arguments[-2:] == ("--connection-module", str(mine))


def test_an_edited_method_is_another_cell_and_ours_stay(mine, pairs, tmp_path):
    words = ["table1", "--connections", "post,mine", "--data", pairs, "--output", tmp_path, "--seeds", "1"]
    plan = lambda: {cell.connection: cell.fingerprint for _, cell in laptop(*words).cells["table1"]}  # noqa: E731
    laptop("table1", "--connection-module", mine, "--output", tmp_path)
    before, text = plan(), mine.read_text()
    mine.write_text(text.replace("0.0", "0.5"))
    try:
        after = plan()
    finally:
        mine.write_text(text)
    assert before["post"] == after["post"] and before["mine"] != after["mine"]
    assert plan() == before


def test_what_an_architecture_cannot_do_is_one_line(tmp_path):
    with pytest.raises(UserError, match="growth measures models while they train, and arch:transformer"):
        laptop("growth", "--connections", STOCK, "--output", tmp_path)
    with pytest.raises(UserError, match="--scale paper has connections alone"):
        options = reproduce.parse(["table1", "--connections", STOCK, "--scale", "paper"])
        reproduce.SCALES["paper"](options)


def test_the_papers_training_takes_the_module(mine, capsys):
    assert (
        train.main(["wmt_ende", "--connection", "mine", "--connection-module", str(mine), "--gpus", "1", "--dry-run"])
        == 0
    )
    command = capsys.readouterr().out.splitlines()[-1]
    assert "transformer_mine_" in command and command.endswith(f"--connection-module {mine}")


def test_the_quickstart_plans_it(mine, tmp_path):
    words = ["--connections", f"b2t,mine,{STOCK}", "--connection-module", str(mine), "--output", str(tmp_path)]
    options = quickstart.parse([*words, "--layers", "1-1"])
    assert [cell.connection for cell in quickstart.Plan(options).cells] == ["b2t", "mine", STOCK]


@pytest.fixture(scope="module")
def made(mine, pairs, tmp_path_factory):
    """Figure 5 at 6-6 of the own method and of the stock architecture: two cells and two measurements."""
    output = tmp_path_factory.mktemp("own") / "out"
    words = ["figure5", "--connections", f"mine,{STOCK}", "--connection-module", str(mine), "--data", str(pairs)]
    words += ["--output", str(output), "--seeds", "1", "--updates", "4", "--vocab-size", "150"]
    assert cli.main(["reproduce", *words]) == 0
    return output


@pytest.mark.slow
def test_rows_scores_and_measurements_are_made(made, mine):
    results = Results(made / "results" / "laptop")
    rows = {row["connection"]: row for row in results.rows().values()}
    assert rows.keys() == {"mine", STOCK}
    for row in rows.values():
        assert row["scores"]["test"]["BLEU"]["score"] >= 0
        assert str(mine.parent) not in json.dumps(row) and str(made) not in json.dumps(row)
    assert "--connection-module mine.py" in rows["mine"]["command"]
    assert rows["mine"]["signature"].startswith("connection:mine|") and rows[STOCK]["signature"] == STOCK
    sides = {}
    for path in (results.folder / "probes").iterdir():
        for record in map(json.loads, path.read_text().splitlines()):
            sides.setdefault(record["connection"], set()).add((record["side"], record["layer"]))
    assert sides.keys() == {"mine", STOCK}
    assert sides["mine"] == sides[STOCK] and ("decoder", 6) in sides["mine"]


@pytest.mark.slow
def test_the_report_shows_both_in_table_and_figure(made):
    text = (made / "results" / "REPORT.md").read_text()
    table1 = text[text.index("Table 1:") : text.index("Table 2:")]
    assert "| mine " in table1 and "| transformer_iwslt_de_en " in table1
    figures = [path.read_text() for path in (made / "results" / "figures").rglob("figure5-*.svg")]
    assert len(figures) == 1


@pytest.mark.slow
def test_its_checkpoints_are_analysed_and_averaged(made, mine, tmp_path):
    folders = {name: next(made.glob(f"quickstart/{name}-*")) for name in ("mine", "arch-transformer_iwslt_de_en")}
    data = next(made.glob("quickstart/data-*")) / "bin"
    paths = [str(folder / "averaged.pt") for folder in folders.values()]
    words = ["--path", *paths, "--data", data, "--connection-module", mine, "--figure", tmp_path / "g.svg"]
    inside("analyze", "gradients", *words, "--output", tmp_path / "g.jsonl")
    records = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
    assert {(r["connection"], r["layers"]) for r in records} == {("mine", "6-6"), (STOCK, "6-6")}
    assert all(record["value"] > 0 for record in records)
    for name in ("mine", STOCK):
        assert style.colour(name).lower() in (tmp_path / "g.svg").read_text()
    last = folders["mine"] / "checkpoints" / "checkpoint_last.pt"
    averaged = tmp_path / "a.pt"
    inside("average-checkpoints", "--inputs", last, last, "--output", averaged)
    refused = ours("analyze", "growth", "--path", averaged, "--data", data, cwd=tmp_path, check=False)
    assert refused.returncode == 2 and f"add --connection-module {mine}" in refused.stdout


@pytest.mark.slow
def test_a_checkpoint_is_a_line_of_the_quickstarts_table(made, mine, pairs, tmp_path, capsys):
    averaged = next(made.glob("quickstart/mine-*")) / "averaged.pt"
    words = ["quickstart", "--data", pairs, "--vocab-size", "150", "--output", tmp_path, "--connection-module", mine]
    inside(*words, "--connections", f"checkpoint:{averaged}")
    (row,) = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| checkpoint:")]
    (known,) = [r for r in Results(made / "results" / "laptop").rows().values() if r["connection"] == "mine"]
    assert f" {known['scores']['test']['BLEU']['score']:.2f} " in row and "connection:mine|" in capsys.readouterr().out
    assert cli.main(["quickstart", "--connections", "post,checkpoint:no.pt"]) == 2
    assert "--connections checkpoint:no.pt: there is no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_depth_check_measures_it(mine, tmp_path, monkeypatch, capsys):
    run = ["depth-check", "--connections", f"mine,{STOCK}", "--layers", "2-2", "--updates", "2", "--width", "16"]
    run += ["--connection-module", mine, "--output", tmp_path, "--jobs", "1"]
    inside(*run)
    rows = [json.loads(line) for line in (tmp_path / "models.jsonl").read_text().splitlines()]
    assert [row["settings"][0] for row in rows] == ["mine", STOCK]
    assert rows[0]["settings"][-1] == methods.code_key("mine") and len(rows[1]["settings"]) == 6
    assert all(len(row["loss"]) == 2 and row["decoder"]["gradient"][0] > 0 for row in rows)
    (line,) = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| mine ")]
    assert line.split("|")[3].strip() == "–"  # ReZero's encoder has no gradient before training
    assert "| arch:transformer_iwslt_de_en " in (tmp_path / "table.md").read_text()
