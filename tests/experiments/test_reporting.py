"""The report: numbers of rows where they belong, groups apart, and both forms of the document."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from b2t_fairseq.analysis import probes
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.experiments import measurements, reporting, significance
from b2t_fairseq.experiments.measurements import DepthCheck, DuringTraining, Measurement
from b2t_fairseq.experiments.published import get_target
from b2t_fairseq.experiments.reporting.document import Document, Heading, Picture, Table, Text, marked
from b2t_fairseq.experiments.reporting.pages import title_of
from b2t_fairseq.experiments.reporting.scores import spread, training_of
from b2t_fairseq.experiments.rows import Results

FAILURE = (
    "training failed: after 1200 updates the loss is 7.40 bits, no better than predicting words by their frequency"
)


def row(connection: str, layers: str, seed: int, bleu: float | None, **changes) -> dict:
    facts = {"scale": "laptop", "task": "mt", "corpus": "embedded", "recipe": "quickstart", "updates": 1200}
    facts |= {"connection": connection, "layers": layers, "seed": seed, "failure": None, "unigram": 7.1}
    facts |= {"curve": {"train": [[10, 8.0], [1200, 2.0]], "valid": [[600, 3.0], [1200, 2.0 + seed / 10]]}}
    score = {"score": bleu, "signature": "nrefs:1|tok:13a|version:2.6.0", "counts": {}}
    facts["scores"] = {} if bleu is None else {"test": {"BLEU": score}}
    facts |= {"seconds": {"train": 3600.0}, "command": f"b2t-fairseq train --arch {connection}"}
    facts["machine"] = {
        "cpu": "a processor",
        "cores": 2,
        "device": "cpu",
        "python": "3.11.7",
        "torch": "2.13.0",
        "fairseq": "ve 0.12.3",
    }
    facts["machine"] |= {"commit": "abc1234", "date": "2026-11-26 02:00 UTC"}
    facts["fingerprint"] = f"{connection}{layers}{seed}{changes.get('updates', '')}{changes.get('corpus', '')}"
    return facts | changes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A report of made-up rows: Table 1 at two depths with three seeds, another budget, and another corpus."""
    folder = tmp_path_factory.mktemp("results")
    results = Results(folder / "laptop")
    for seed in (1, 2, 3):
        results.add(row("b2t", "18-18", seed, 48.0 + seed), {})
        results.add(row("pre", "18-18", seed, 36.0 + seed), {})
        results.add(row("post", "18-18", seed, 0.03, failure=FAILURE), {})
    results.add(row("pre", "6-6", 1, 41.5), {})
    results.add(row("pre", "12-12", 1, 40.5), {})
    results.add(row("b2t", "18-18", 1, 77.7, updates=5000), {})
    results.add(row("b2t", "18-18", 1, 33.3, corpus="multi30k", recipe="multi30k", updates=4000), {})
    old = row("pre", "6-6", 1, 11.1, fingerprint="older")
    old["machine"]["date"] = "2026-11-20 02:00 UTC"
    results.add(old, {})
    reporting.write(results, folder)
    return folder


def cells_of(text: str, heading: str) -> list[list[str]]:
    """The first table after a heading, as cells; the rule under the head is left out."""
    block = text[text.index(heading) :].split("\n\n")
    table = next(part for part in block if part.startswith("| "))
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return [line for line in lines if not set("".join(line)) <= set("-: ")]


def test_a_table_has_ours_beside_the_papers(folder):
    text = (folder / "REPORT.md").read_text()
    head, *lines = cells_of(text, "## Table 1")
    assert head[:6] == ["method", "layers", "seeds", "BLEU test", "valid loss, bits", "training"]
    assert head[6:] == [f"paper: {year}" for year in range(2010, 2017)] + ["paper: mean"]
    assert [line[:6] for line in lines] == [
        ["Pre-LN", "6-6", "1", "41.50", "2.10", "still falling"],
        ["Post-LN", "18-18", "3", "0.03 ± 0.00", "2.20 ± 0.10", "training failed"],
        ["Pre-LN", "18-18", "3", "38.00 ± 1.00", "2.20 ± 0.10", "still falling"],
        ["B2T connection", "18-18", "3", "50.00 ± 1.00", "2.20 ± 0.10", "still falling"],
    ]
    assert lines[1][6] == "training failed"
    assert [float(cell) for cell in lines[3][6:]] == [24.62, 22.51, 22.86, 26.74, 28.48, 30.99, 34.93, 27.30]


def test_scales_and_budgets_never_mix(folder):
    text = (folder / "REPORT.md").read_text()
    table1 = text[text.index("## Table 1") : text.index("## Table 2")]
    groups = re.findall(r"^### (.*)$", table1, re.M)
    assert groups == [
        "laptop scale: the embedded corpus, recipe quickstart, 1,200 updates",
        "laptop scale: the embedded corpus, recipe quickstart, 5,000 updates",
        "laptop scale: multi30k, recipe multi30k, 4,000 updates",
    ]
    assert "77.70" not in table1[: table1.index("5,000 updates")] and "11.10" not in text


def test_rows_of_older_versions_are_counted_and_not_shown(folder):
    text = (folder / "REPORT.md").read_text()
    assert "1 kept row is of older versions of a recipe, a corpus or the program: not shown." in text
    assert "11.10" not in text


def test_findings_come_first_with_their_rules(folder):
    text = (folder / "REPORT.md").read_text()
    assert text.index("## Findings") < text.index("## Table 1")
    _, *lines = cells_of(text, "## Findings")
    verdicts = {(line[0][0], line[3].partition(",")[0], line[4]): line[1].strip("*") for line in lines}
    assert verdicts == {
        ("2", "embedded", "18-18"): "holds",
        ("3", "embedded", "18-18"): "not trained long enough",
    }
    assert "less than 1 % better over the last fifth" in text


def test_figures_are_drawn_and_the_page_needs_nothing_else(folder):
    page, text = (folder / "REPORT.html").read_text(), (folder / "REPORT.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    names = {Path(picture).name for picture in pictures}
    assert {"figure1-embedded-quickstart-1200.svg", "figure8-embedded-quickstart-1200.svg"} <= names
    assert all((folder / picture).is_file() for picture in pictures) and page.count("<img ") == len(pictures)
    assert not re.search(r"""(src|href)="(?!data:|#)""", page)
    environment = cells_of(text, "## Environment")
    assert environment[1][:3] == ["a processor", "2", "cpu"] and environment[1][6:8] == ["13", "13.0"]
    assert text.count("# mt embedded") + text.count("# mt multi30k") == 13


def test_the_same_rows_are_the_same_files(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".svg", ".md", ".html")}
    reporting.write(Results(folder / "laptop"), folder)
    assert {path: path.read_bytes() for path in before} == before and len(before) > 5


def test_odd_records_of_a_measurement_are_noted_and_left_out(tmp_path, capsys):
    results = Results(tmp_path / "laptop")
    (results.folder / "probes").mkdir(parents=True)
    path = results.folder / "probes" / "gradients-post-18-18-w512-1.jsonl"
    sound = {"probe": "gradients", "version": probes.VERSION, "connection": "post", "layers": "18-18", "width": 512}
    sound |= {"side": "decoder", "layer": 1, "value": 0.5}
    odd = [{**sound, "value": "x"}, {**sound, "layer": None}, {**sound, "connection": None}]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in [sound, *odd]))
    reporting.write(results, tmp_path)
    assert capsys.readouterr().err.count("is damaged and ignored") >= 3
    assert "figure3-w512.svg" in (tmp_path / "REPORT.md").read_text()


def test_measurements_of_an_older_version_are_not_shown(tmp_path, capsys):
    results = Results(tmp_path / "laptop")
    (results.folder / "probes").mkdir(parents=True)
    record = {"probe": "gradients", "connection": "post", "layers": "18-18", "side": "decoder", "layer": 1}
    for width, version in ((512, probes.VERSION), (64, probes.VERSION - 1), (128, None)):
        path = results.folder / "probes" / f"gradients-post-18-18-w{width}-1.jsonl"
        path.write_text(json.dumps(record | {"version": version, "width": width, "value": 0.5}) + "\n")
    reporting.write(results, tmp_path)
    report = (tmp_path / "REPORT.md").read_text()
    assert "figure3-w512.svg" in report and "figure3-w64.svg" not in report and "figure3-w128.svg" not in report
    assert not capsys.readouterr().err


def test_a_file_without_records_is_a_measurement_to_make(tmp_path):
    results, measurement = Results(tmp_path), Measurement("m", (), tmp_path)
    assert not measurement.is_done(results, None)
    measurement.kept(results).parent.mkdir()
    measurement.kept(results).touch()
    assert not measurement.is_done(results)
    record = {"probe": "gradients", "connection": "b2t", "layers": "1-1", "layer": 1, "value": 1.0}
    new, old = (
        [json.dumps(record | {"version": version, "side": side}) for side in ("encoder", "decoder")]
        for version in (probes.VERSION, probes.VERSION - 1)
    )
    odd = json.dumps(record | {"version": [2], "side": "decoder"})
    deep = [line.replace("1-1", "deep") for line in new]
    for lines in (new + old, new[:1], [*new, '{"probe": "gra'], [new[0], odd], deep):
        measurement.kept(results).write_text("\n".join(lines))
        assert not measurement.is_done(None, results)
    measurement.kept(results).write_text("\n".join(new))
    assert measurement.is_done(None, results)


@pytest.mark.parametrize(("at", "layers"), [((), (1, 3, 6)), (("--at", "2,4"), (2, 4))])
def test_points_of_fewer_layers_are_to_be_measured(tmp_path, at, layers):
    results, measurement = Results(tmp_path), Measurement("m", ("points", *at), tmp_path)
    record = {"probe": "points", "connection": "b2t", "layers": "6-6", "side": "decoder", "value": 1.0}
    lines = [json.dumps(record | {"version": probes.VERSION, "layer": layer}) for layer in layers]
    measurement.kept(results).parent.mkdir()
    for count in range(1, len(lines) + 1):
        measurement.kept(results).write_text("\n".join(lines[:count]))
        assert measurement.is_done(results) == (count == len(lines))


def test_what_a_training_did_not_measure_is_named(tmp_path):
    results, log = Results(tmp_path / "results"), tmp_path / "checkpoints" / "probes.jsonl"
    measurement = DuringTraining("m", (), tmp_path, log, "growth")
    log.parent.mkdir()
    for text in ('{"value": 1}\n', "garbage"):
        log.write_text(text)
        (failure,) = measurements.make([measurement], results, 1)
        assert str(log) in failure and "train it again" in failure


def test_a_depth_check_is_whole_with_all_its_models(tmp_path):
    check = DepthCheck("depth-1", ("--connections", "post,b2t", "--layers", "6-6", "--seed", "1"), tmp_path)
    sides = {side: {"gradient": [1.0], "variance": [1.0]} for side in ("encoder", "decoder")}
    models = [{"settings": [name, "6-6", 100], "loss": [5.0], **sides} for name in ("post", "b2t")]
    for rows, is_whole in ((models[:1], False), ([models[0], {**models[1], "loss": []}], False), (models, True)):
        check.output.write_text("half a li\n" + "".join(f"{json.dumps(row)}\n" for row in rows))
        assert check.is_whole(check.output) == is_whole


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_records_are_as_many_for_each_layer(tmp_path, cut):
    measurement, path = Measurement("m", ("ffn-gradients",), tmp_path), tmp_path / "m.jsonl"
    record = {"probe": "ffn-gradients", "connection": "b2t", "layers": "1", "side": "decoder", "layer": 1, "value": 1.0}
    pairs = [(1, 1), (1, 2), (2, 2)]
    similar = [record | {"probe": "similarity", "layers": "2", "layer": i, "other": j} for i, j in pairs]
    three = [record | {"layers": "2", "layer": layer} for layer in (1, 1, 1, 2, 2, 2)]
    for records in (similar, three):
        lines = [json.dumps(each | {"version": probes.VERSION}) for each in records]
        path.write_text("\n".join(lines))
        assert measurement.is_whole(path)
        path.write_text("\n".join(lines[:-cut]))
        assert not measurement.is_whole(path)


def test_hypotheses_are_as_many_as_references(tmp_path):
    results = Results(tmp_path)
    pair = [row(connection, "18-18", 1, 20.0) for connection in ("b2t", "pre")]
    for each, lines in zip(pair, (["a", "b"], ["a"]), strict=True):
        results.add(each, {"test": lines})
    task = SimpleNamespace(references=lambda data, test: ["a", "b"], paired_test=lambda *lines: (0.5, "s"))
    corpus = SimpleNamespace(prepare=lambda: None, places=[tmp_path], task=task)
    corpora = {each["fingerprint"]: corpus for each in pair}
    with pytest.raises(UserError, match=r"test\.txt\.gz has 1 lines, the test set 2: delete it"):
        significance.make(pair, corpora, results)
    results.add(pair[1], {"test": ["a", "c"]})
    significance.make(pair, corpora, results)
    assert len(significance.kept(results)) == 1


def test_what_is_not_done_is_counted_first_and_named_last(tmp_path):
    lines = ["mt embedded b2t 6-6 quickstart, seed 2", "mt embedded b2t 6-6 quickstart, seed 3", "growth-x"]
    for missing, counted in ((lines, "3 cells and measurements"), (lines[:1], "one cell or measurement")):
        reporting.write(Results(tmp_path / "laptop"), tmp_path, missing)
        report = (tmp_path / "REPORT.md").read_text()
        assert report.index(f"Not done yet, of what was asked for: {counted}, ") < report.index("## Findings")
        assert f"{counted} of what was asked for" in report[report.index("## Not done yet") :]
    reporting.write(Results(tmp_path / "laptop"), tmp_path, lines)
    assert "mt embedded b2t 6-6 quickstart, seeds 2, 3\ngrowth-x\n" in (tmp_path / "REPORT.md").read_text()


def test_a_paired_test_that_is_no_number_is_one_to_make(tmp_path):
    record = {"first": "a", "second": "b", "test": "test", "signature": "s"}
    lines = [record | {"p": 0.5}, record | {"p": math.nan, "first": "c"}]
    (tmp_path / significance.FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert significance.kept(Results(tmp_path)) == {("a", "b", "test"): 0.5}


def test_a_paper_scale_row_has_the_recipes_own_updates(tmp_path):
    results = Results(tmp_path / "paper")
    facts = {"corpus": "wmt_ende", "recipe": "paper", "updates": None, "scale": "paper"}
    for connection in ("post", "pre"):
        results.add(row(connection, "6-6", 1, 26.0, **facts, fingerprint=connection), {})
    reporting.write(results, tmp_path)
    text = (tmp_path / "REPORT-paper.md").read_text()
    assert "| wmt_ende, paper " in text and "# mt wmt_ende pre 6-6 paper, seed 1" in text and "None" not in text


def test_words_of_the_tables():
    assert spread([1.0, None, 3.0, float("nan")]) == "2.00 ± 1.41" and spread([None]) == "–" and spread([2.0]) == "2.00"
    assert [title_of(name) for name in ("table10", "figure1", "methods")] == ["Table 10", "Figure 1", "Methods"]
    rows = [row("post", "6-6", 1, 1.0, failure=FAILURE), row("post", "6-6", 2, 1.0)]
    assert training_of(rows) == "training failed in 1, still falling in 1"
    assert training_of(rows[:1]) == "training failed"
    assert get_target("table6").rows[0].scores == "missing"


def test_both_forms_of_a_document(tmp_path):
    picture = tmp_path / "a.svg"
    picture.write_text("<svg/>")
    document = Document("A < B")
    document.add(Heading("One", anchor="one"), Text("`x<y` and **z**"), Table(["a", "b"], [["1|2", "<b>"]], wordy=(1,)))
    document.add(Picture(picture, 'says "so"', "below"))
    markdown, page = (path.read_text() for path in document.write(tmp_path, "D"))
    assert "| 1\\|2 | <b> |" in markdown and '![says "so"](a.svg)\n\nbelow' in markdown
    assert "<h1>A &lt; B</h1>" in page and '<h2 id="one">One</h2>' in page and '<a href="#one">One</a>' in page
    assert "<code>x&lt;y</code> and <strong>z</strong>" in page and '<td class="text">&lt;b&gt;</td>' in page
    assert 'alt="says &quot;so&quot;" src="data:image/svg+xml,<svg/>"' in page


@pytest.mark.parametrize(
    "text, html",
    [
        ("the verdict *not enough data*: more", "the verdict <em>not enough data</em>: more"),
        ("HybridNorm* and HybridNorm*", "HybridNorm* and HybridNorm*"),
        ("**holds** or `a * b * c`", "<strong>holds</strong> or <code>a * b * c</code>"),
    ],
)
def test_marks_become_html(text, html):
    assert marked(text) == html
