"""The report's pages, made from a results folder: rows, hypotheses, measurements, and the paper as data.

    RESULTS/REPORT.html, REPORT.md, figures/SCALE/*.svg

Whatever is among the results is shown, by whichever command it was made. Cells of one corpus, recipe and number of
updates are a group; each group is a table or picture of its own, so that scales never mix.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...analysis import depth_check, style
from ...analysis import figures as probe_figures
from ...analysis.probes import RECORD, VERSION
from ...common.files import read_records
from ...models.methods import is_own
from .. import findings, significance
from ..published import Target, all_targets, elsewhere
from ..rows import Results, Row, describe, of_one_version
from . import figures
from .document import Code, Document, Heading, Picture, Table, Text
from .scores import PUBLISHED, published_cells, published_head, score_table, signatures

TITLE = "B2T connection: tables, figures and findings, reproduced"
OPENING = {
    "paper": "Models of the paper's size on the paper's corpora. The published numbers stand beside ours.",
    "laptop": (
        "Narrow models (width 64) on small corpora and processor cores. The published numbers stand beside ours to be "
        "compared in order and direction, not in size: corpora, vocabularies and widths differ. Every score is that of "
        "the average of a training's last checkpoints; ± is the standard deviation over seeds."
    ),
}
MACHINE = {
    "processor": "cpu",
    "cores": "cores",
    "device": "device",
    "Python": "python",
    "torch": "torch",
    "fairseq": "fairseq",
}
#: one table's cells: a corpus, a recipe, a number of updates
Group = tuple[str, str, int | None]
Groups = Mapping[Group, Sequence[Row]]


def write(results: Results, folder: Path, missing: Sequence[str] = (), wanted: Sequence[str] = ()) -> list[str]:
    """Write the report; return the lines that say where it is.

    Args:
        results: of one scale.
        folder: where the report goes.
        missing: what the command's targets still lack.
        wanted: methods that the command names, which are shown beside those of each target.
    """
    report = Report(results, folder, wanted)
    report.open(missing)
    report.add_findings()
    for target in all_targets():
        report.add_target(target)
    report.add_elsewhere()
    report.add_missing(missing)
    report.add_environment()
    stem = "REPORT" if report.scale == "laptop" else f"REPORT-{report.scale}"
    markdown, page = report.document.write(folder, stem)
    return [f"written: {page}, {markdown}, {report.pictures}"]


class Report:
    """The report of one scale, while it is written.

    Attributes:
        results: rows, hypotheses and measurements.
        scale: "laptop" or "paper".
        rows: one for each cell, of one version.
        older: the number of rows that other versions of a recipe, a corpus or the program made.
        document: what is written so far.
        pictures: the folder of the figures.
    """

    def __init__(self, results: Results, folder: Path, wanted: Sequence[str] = ()):
        self.results, self.scale = results, results.folder.name
        kept = results.rows()
        self.rows = of_one_version(kept.values())
        self.older = len(kept) - len(self.rows)
        self.wanted = wanted
        self.document = Document(f"{TITLE} ({self.scale} scale)")
        self.pictures = folder / "figures" / self.scale
        self.pictures.mkdir(parents=True, exist_ok=True)

    def open(self, missing: Sequence[str]) -> None:
        """Say what the reader is looking at, and how much of it is not done yet."""
        self.document.add(Text(OPENING[self.scale]))
        if missing:
            self.document.add(Text(f"Not done yet, of what was asked for: {how_many(missing)}, named near the end."))
        if self.older:
            count = f"{self.older} kept row{'s are' if self.older > 1 else ' is'}"
            self.document.add(Text(f"{count} of older versions of a recipe, a corpus or the program: not shown."))

    def add_findings(self) -> None:
        """Add the three findings: the verdicts, and what they rest on."""
        self.document.add(Heading("Findings", anchor="findings"))
        tested = significance.kept(self.results)
        found = findings.find_all(self.rows, lambda *pair: tested.get(pair))
        if not found:
            self.document.add(Text("No pair of cells speaks to a finding yet."))
            return
        head = ["finding", "verdict", "task", "cells", "layers", "what it rests on"]
        lines = []
        for finding in found:
            cells = f"{finding.corpus}, {finding.recipe}" + (
                f", {finding.updates:,} updates" if finding.updates else ""
            )
            verdict = f"**{finding.verdict}**"
            lines.append([finding.title, verdict, finding.task, cells, finding.layers, finding.explanation])
        self.document.add(Table(head, lines, wordy=(0, 3, 5)), Text(findings.RULES, is_note=True))

    def add_target(self, target: Target) -> None:
        """Add a table or figure, or say how it is made."""
        self.document.add(Heading(f"{title_of(target.name)}: {target.title}", anchor=target.name))
        self.document.add(Text(f"Source: {target.source}.", is_note=True))
        groups = self.groups_of(target)
        makers = {
            "table": self.add_table,
            "curves": self.add_curves,
            "depths": self.add_depths,
            "probe": self.add_fresh,
            "similarity": self.add_trained,
            "warmup": self.add_warmup,
            "growth": self.add_growth,
            "depth": self.add_depth_check,
        }
        if not makers[target.kind](target, groups):
            self.document.add(Text(f"Not made yet: `b2t-fairseq reproduce {target.name}` makes it."))
        for note in target.notes:
            self.document.add(Text(note, is_note=True))

    def models_of(self, models: Sequence[tuple[str, str]], made: Iterable[Row]) -> list[tuple[str, str]]:
        """Return a target's (connection, layers), and behind them those of the user's methods that were made.

        Args:
            models: the target's own.
            made: rows or records, with "connection" and "layers".
        """
        depths = {layers for _, layers in models}
        others = {(row["connection"], row["layers"]) for row in made if row["layers"] in depths}
        others = {model for model in others if is_own(model[0]) or model[0] in self.wanted}
        return [*models, *sorted(others - set(models))]

    def groups_of(self, target: Target) -> dict[Group, list[Row]]:
        """Return the rows that belong to a target, by group; first the group that the target itself asks for."""
        mine = [row for row in self.rows if row["task"] == target.task]
        models, groups = set(self.models_of(target.trained_models(), mine)), {}
        for row in self.rows:
            is_varied = "+" in row["recipe"]
            if row["task"] != target.task or (row["connection"], row["layers"]) not in models:
                continue
            if not is_varied or target.variants != [{}] or "probe_interval" in target.laptop:
                groups.setdefault((row["corpus"], row["recipe"], row["updates"]), []).append(row)
        own = target.laptop.get("recipe"), target.laptop.get("updates")
        order = sorted(groups, key=lambda group: (group[1:] != own, group[0] != "embedded", str(group)))
        return {group: groups[group] for group in order}

    def describe(self, group: Group) -> str:
        """Return what a group of cells has in common."""
        corpus, recipe, updates = group
        where = "the embedded corpus" if corpus == "embedded" else corpus
        return f"{self.scale} scale: {where}, recipe {recipe}" + (f", {updates:,} updates" if updates else "")

    def picture(self, target: Target, group: Sequence[Any]) -> Path:
        """Return the file of a target's picture for a group."""
        return self.pictures / ("-".join([target.name, *map(str, group)]) + ".svg")

    def score_table(self, target: Target, rows: Sequence[Row]) -> Table:
        """Return the scores of a target's methods, and of the user's."""
        return score_table(target, rows, self.models_of(target.models(), rows))

    def add_table(self, target: Target, groups: Groups) -> bool:
        """Add a table for each group, ours beside the published scores."""
        for group, rows in groups.items():
            self.document.add(Heading(self.describe(group), 3), self.score_table(target, rows))
        if not groups and target.rows:
            lines = [[row.label, row.layers, *published_cells(target, row)] for row in target.rows]
            self.document.add(Table(["method", "layers", *published_head(target)], lines))
        for row in target.rows:
            if row.note:
                self.document.add(Text(f"{row.label} {row.layers}: {row.note}.", is_note=True))
        if target.signature:
            self.document.add(Text(f"Signature of the published scores: `{target.signature}`", is_note=True))
        if ours := signatures(row for rows in groups.values() for row in rows):
            self.document.add(Text(f"Signature of ours: {ours}", is_note=True))
        return bool(groups)

    def add_curves(self, target: Target, groups: Groups) -> bool:
        """Add loss curves, a picture for each group."""
        kinds, made = ["train", "valid"] if target.curve == "both" else [target.curve], False
        for group, rows in groups.items():
            names = dict.fromkeys(name for name, _ in self.models_of(target.trained_models(), rows))
            by_name = {name: [row for row in rows if row["connection"] == name] for name in names}
            by_name = {name: mine for name, mine in by_name.items() if mine}
            path, made = self.picture(target, group), True
            figures.draw_curves(by_name, kinds, unigram(rows), path)
            caption = f"{self.describe(group)}; the mean over seeds, the band is their range."
            self.document.add(Picture(path, f"{target.title}: {labels(by_name)}", caption))
        return made

    def add_depths(self, target: Target, groups: Groups) -> bool:
        """Add the best validation loss against depth, a picture for each group that has several depths."""
        made = False
        for group, rows in groups.items():
            if len({row["layers"] for row in rows}) > 1:
                path, made = self.picture(target, group), True
                figures.draw_depths(rows, unigram(rows), path)
                self.document.add(Picture(path, target.title, f"{self.describe(group)}; the mean over seeds."))
        return made

    def records(self, target: Target, when: str) -> list[dict[str, Any]]:
        """Return a target's measurements of "fresh" or "trained" models, or those made "during" their training.

        `cell` is the fingerprint of a model that was trained.
        """
        records = []
        for path in newest_code((self.results.folder / "probes").glob(f"{target.probe}-*.jsonl")):
            made = next((word for word in ("trained", "during") if f"-{word}-" in path.name), "fresh")
            if made == when:
                about = {"cell": path.stem.rpartition("-")[2], "path": None}
                records += [record | about for record in read_records(path, **RECORD) if is_wanted(record, target)]
        models = self.models_of(target.models() if when == "fresh" else target.trained_models(), records)
        order = list(dict.fromkeys(name for name, _ in models))
        records = [record for record in records if (record["connection"], record["layers"]) in models]
        return sorted(records, key=lambda record: order.index(record["connection"]))

    def add_fresh(self, target: Target, _: Groups) -> bool:
        """Add a figure of models before training, one for each width."""
        made = False
        for width, records in by_width(self.records(target, "fresh")).items():
            path, made = self.picture(target, [f"w{width}"]), True
            probe_figures.DRAW[target.probe](records, path)
            caption = f"Before training, {width_words(width)}; one batch."
            names = labels(record["connection"] for record in records)
            self.document.add(Picture(path, f"{target.title}: {names}", caption))
        return made

    def add_trained(self, target: Target, groups: Groups) -> bool:
        """Add a figure of trained models, one for each group."""
        records, made = self.records(target, "trained"), False
        for group, rows in groups.items():
            cells = {row["fingerprint"]: row["seed"] for row in rows}
            mine = [record for record in records if record["cell"] in cells]
            if mine:
                path, made = self.picture(target, ["trained", *group]), True
                probe_figures.DRAW[target.probe](mine, path)
                caption = f"After training; {self.describe(group)}; seed {cells[mine[0]['cell']]}."
                names = labels(record["connection"] for record in mine)
                self.document.add(Picture(path, f"{target.title}: {names}", caption))
        return made

    def add_growth(self, target: Target, groups: Groups) -> bool:
        """Add figures of models before, during and after training."""
        made = self.add_fresh(target, groups)
        records = self.records(target, "during")
        for group, rows in groups.items():
            seeds = {row["fingerprint"]: row["seed"] for row in rows}
            mine = [record for record in records if record["cell"] in seeds]
            if not mine:
                continue
            last = max(record["update"] for record in mine)
            about = f"{self.describe(group)}; seed {seeds[mine[0]['cell']]}."
            over, after = (self.picture(target, [word, *group]) for word in ("during", "after"))
            probe_figures.growth_over_training(mine, over)
            probe_figures.growth([record for record in mine if record["update"] == last], after)
            self.document.add(Picture(over, f"{target.title}: the top layer's", f"Against updates; {about}"))
            self.document.add(Picture(after, target.title, f"After {last:,} updates; {about}"))
            made = True
        return self.add_trained(target, groups) or made

    def add_depth_check(self, target: Target, _: Groups) -> bool:
        """Add the depth check: a picture and a table for each that is kept."""
        made = False
        for number, path in enumerate(sorted((self.results.folder / "probes").glob("depth-*.jsonl")), 1):
            rows = depth_check.read_rows(path)
            results = {(row["settings"][0], row["settings"][1]): row for row in rows}
            picture, made = self.picture(target, [number]), True
            depth_check.draw(results, picture)
            head, *lines = depth_check.table_lines(results)
            self.document.add(Picture(picture, f"{target.title}: {labels(name for name, _ in results)}"))
            self.document.add(Table(head, lines), Text(f"{' '.join(depth_check.LEGEND.split())}.", is_note=True))
        return made

    def add_warmup(self, target: Target, groups: Groups) -> bool:
        """Add the gradient against depth, and the scores of trainings with and without warm-up."""
        made = False
        for width, records in by_width(self.records(target, "fresh")).items():
            path, made = self.picture(target, [f"w{width}"]), True
            figures.draw_gradients_by_depth(records, path)
            self.document.add(Picture(path, target.title, f"Before training, {width_words(width)}; one batch."))
        for group in [group for group in groups if "+" in group[1]]:
            plain = group[0], group[1].partition("+")[0], group[2]
            for which in (plain, group):
                if which in groups:
                    self.document.add(Heading(self.describe(which), 3), self.score_table(target, groups[which]))
                    made = True
        return made

    def add_elsewhere(self) -> None:
        """Add the tables of other papers that compare methods of ours."""
        self.document.add(Heading("Published elsewhere", anchor="elsewhere"))
        for table in elsewhere():
            lines = []
            for label, _, scores, note in table.rows:
                cells = [PUBLISHED[scores]] if isinstance(scores, str) else [f"{score:g}" for score in scores]
                lines.append(
                    [label + (f" ({note})" if note else ""), *cells, *[""] * (len(table.columns) - len(cells))]
                )
            self.document.add(Heading(table.title, 3), Text(f"Source: {table.source}.", is_note=True))
            self.document.add(Table(["method", *table.columns], lines))
            self.document.add(*[Text(note, is_note=True) for note in table.notes])

    def add_missing(self, missing: Sequence[str]) -> None:
        """Name the cells and measurements that were asked for and are not done; a cell's seeds share a line."""
        if not missing:
            return
        seeds: dict[str, list[str]] = {}
        for line in missing:
            cell, _, seed = line.partition(", seed ")
            seeds.setdefault(cell, []).append(seed)
        plural = {cell: "seeds" if len(each) > 1 else "seed" for cell, each in seeds.items()}
        lines = [f"{cell}, {plural[cell]} {', '.join(each)}" if any(each) else cell for cell, each in seeds.items()]
        self.document.add(Heading("Not done yet", anchor="missing"))
        self.document.add(Code(f"{how_many(missing)} of what was asked for", lines))

    def add_environment(self) -> None:
        """Add what the cells were made on, how long that took, and the command for each."""
        self.document.add(Heading("Environment", anchor="environment"))
        if not self.rows:
            self.document.add(Text("No cell is done."))
            return
        machines: dict[tuple, list[Row]] = {}
        for row in self.rows:
            machines.setdefault(tuple(str(row["machine"].get(key)) for key in MACHINE.values()), []).append(row)
        lines = []
        for facts, rows in machines.items():
            dates = sorted({str(row["machine"].get("date"))[:10] for row in rows})
            hours = sum(sum(row["seconds"].values()) for row in rows) / 3600
            commits = ", ".join(sorted({str(row["machine"].get("commit")) for row in rows}))
            when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
            lines.append([*facts, str(len(rows)), f"{hours:.1f}", when, commits])
        head = [*MACHINE, "cells", "hours of one process", "dates", "commits"]
        self.document.add(Table(head, lines, wordy=(0, len(head) - 1)))
        commands = [f"# {describe(row)}\n{row['command']}" for row in self.rows if row.get("command")]
        self.document.add(Code(f"The training command of each of the {len(commands)} cells", commands))


def how_many(missing: Sequence[str]) -> str:
    """Say how many cells and measurements are not done."""
    return f"{len(missing)} cells and measurements" if len(missing) > 1 else "one cell or measurement"


def newest_code(paths: Iterable[Path]) -> list[Path]:
    """Return files of measurements; of a method of the user's that was edited the one that was made last."""
    dated = sorted(paths, key=lambda path: path.stat().st_mtime)
    return sorted({re.sub(r"-[0-9a-f]{12}(?=-\d+\.jsonl$)", "", path.name): path for path in dated}.values())


def title_of(name: str) -> str:
    """Return a target's name as a title: "table10" -> "Table 10"."""
    word = name.rstrip("0123456789")
    return f"{word.capitalize()} {name[len(word) :]}".strip()


def is_wanted(record: Mapping[str, Any], target: Target) -> bool:
    """Return whether a record is of a layer that the figure shows, and today's probes made it."""
    return record.get("version") == VERSION and (not target.layers or record["layer"] in target.layers)


def unigram(rows: Sequence[Row]) -> float | None:
    """Return the unigram level of a group's corpus; None if no row has it."""
    return next((row["unigram"] for row in rows if row.get("unigram") is not None), None)


def by_width(records: Iterable[Mapping[str, Any]]) -> dict[Any, list[Any]]:
    """Return records by the width of their models; those of the paper's size have none."""
    groups: dict[Any, list[Any]] = {}
    for record in records:
        groups.setdefault(record.get("width", "paper"), []).append(record)
    return groups


def width_words(width: Any) -> str:
    """Return a width as it is said."""
    return "the paper's model" if width == "paper" else f"width {width}"


def labels(connections: Iterable[str]) -> str:
    """Return the methods as the papers write them, each once."""
    return ", ".join(dict.fromkeys(style.label(name) for name in connections))
