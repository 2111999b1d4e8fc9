"""The paper as data: one YAML file for each table and figure, with what is published and what reproduces it.

    kind: table      rows of (connection, layers), a column for each metric and test set, published scores
    kind: curves     loss against updates, of the cells of `connections` x `depths`
    kind: depths     the best validation loss against the number of layers
    kind: probe      a probe of models that are not trained (`analysis`)
    kind: similarity a probe of trained models
    kind: warmup     a probe of fresh models at several depths, and trainings with and without warm-up
    kind: growth     a probe of fresh models, and of models after their training
    kind: depth      the depth check: gradients, variances and first losses

A published score is a number; `failed` stands for the paper's "Training failed", `missing` for what is not in our copy,
which is never filled from memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...connections import CONNECTIONS, get_connection

KINDS = ("table", "curves", "depths", "probe", "similarity", "warmup", "growth", "depth")
FAILED, MISSING = "failed", "missing"
FOLDER = Path(__file__).parent
#: in the order of the paper, then what other papers plot
TARGETS = (
    *("table1", "table2", "table3", "table4", "table5", "table6", "table9", "table10"),
    *("figure1", "figure3", "figure4", "figure5", "figure6", "figure7", "figure8", "figure9"),
    *("warmup", "growth", "depth", "methods"),
)
#: keys of `laptop` and `trained`, and their types
LAPTOP = {"recipe": str, "updates": int, "data_recipe": str, "seeds": int, "width": int, "probe_interval": int}
TRAINED = {"connections": list, "depths": list, "variants": list}


@dataclass(frozen=True)
class PublishedRow:
    """A row of a table.

    Attributes:
        label: what the paper calls the method.
        connection: ours; several where the paper does not say which form it ran.
        layers: of each stack.
        scores: a number for each column, or `FAILED`, or `MISSING`.
        mean: the published mean over the columns, None if there is none.
        note: what is wrong or open in the paper.
    """

    label: str
    connection: str
    layers: str
    scores: tuple[float, ...] | str
    mean: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Target:
    """A table or figure.

    Attributes:
        name: "table1".
        kind: one of `KINDS`.
        title: what it shows, in our words.
        source: where it is published.
        task: "mt", "summarization", "lm" or "asr".
        corpus: the paper's corpus.
        columns: (metric, test set) of a table's columns.
        rows: of a table.
        connections, depths: of a figure.
        probe: of a figure: the name in `analysis`.
        layers: of a `points` probe: which decoder layers.
        curve: of `curves`: "train", "valid" or "both".
        trained: of `warmup` and `growth`: connections, depths and variants (training options) of what is trained.
        signature: of the published scores.
        notes: what a reader should know.
        laptop: how it is made at laptop scale: the recipe (`data_recipe` for `--data`), updates of its cells, how many
            of the seeds it takes at most, the width of fresh models.
    """

    name: str
    kind: str
    title: str
    source: str
    task: str
    corpus: str
    columns: tuple[tuple[str, str], ...] = ()
    rows: tuple[PublishedRow, ...] = ()
    connections: tuple[str, ...] = ()
    depths: tuple[str, ...] = ()
    probe: str = ""
    layers: tuple[int, ...] = ()
    curve: str = ""
    signature: str = ""
    notes: tuple[str, ...] = ()
    trained: Mapping[str, Any] = field(default_factory=dict)
    laptop: Mapping[str, Any] = field(default_factory=dict)

    def models(self) -> list[tuple[str, str]]:
        """Return its (connection, layers), each once, in the order of the paper."""
        if self.rows:
            return list(dict.fromkeys((row.connection, row.layers) for row in self.rows))
        return [(connection, layers) for layers in self.depths for connection in self.connections]

    def trained_models(self) -> list[tuple[str, str]]:
        """Return the (connection, layers) of its cells; none for a figure of fresh models."""
        if self.kind in ("probe", "depth"):
            return []
        if not self.trained:
            return self.models()
        return [(name, layers) for layers in self.trained["depths"] for name in self.trained["connections"]]

    @property
    def variants(self) -> list[dict[str, Any]]:
        """Return the training options that are varied; one empty set if none are."""
        return self.trained.get("variants", [{}])


@dataclass(frozen=True)
class Elsewhere:
    """A table of another paper, to stand beside ours; language models, where less is better.

    Attributes:
        title: what it shows.
        source: where it is published.
        columns: the heads of its columns.
        rows: label, connection of ours (None if we do not have it), scores or `FAILED`, note.
        notes: what a reader should know.
    """

    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, str | None, tuple[float, ...] | str, str], ...]
    notes: tuple[str, ...]


def elsewhere() -> list[Elsewhere]:
    """Return the tables that are published elsewhere."""
    import yaml

    tables = []
    for path in sorted((FOLDER / "elsewhere").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        columns = tuple(f"{metric}, {test}" for metric in content["metrics"] for test in content["tests"])
        rows = []
        for row in content["rows"]:
            scores = row["published"] if isinstance(row["published"], str) else tuple(map(float, row["published"]))
            if scores != FAILED and len(scores) != len(columns):
                raise UserError(f"{path}: row {row['label']}: {len(scores)} scores in {len(columns)} columns")
            rows.append((row["label"], row["connection"], scores, row.get("open", "")))
        tables.append(Elsewhere(content["title"], content["source"], columns, tuple(rows), tuple(content["notes"])))
    return tables


def get_target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        UserError: unknown name; lists the known ones.
    """
    if name not in TARGETS:
        raise UserError(f"unknown target '{name}': choose from {', '.join(TARGETS)}, findings, all")
    return read_target(FOLDER / f"{name}.yaml")


@cache
def read_target(path: Path) -> Target:
    """Read a target's file.

    Raises:
        UserError: a key, kind, connection or number of scores that does not fit.
    """
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        content["columns"] = tuple((metric, test) for metric, test in content.get("columns", ()))
        content["rows"] = tuple(read_row(row, content) for row in content.get("rows", ()))
        for name in ("connections", "depths", "layers", "notes"):
            content[name] = tuple(content.get(name, ()))
        if content["connections"] == ("all",):
            content["connections"] = tuple(CONNECTIONS)
        target = Target(name=path.stem, **content)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{path}: {error}") from error
    check(path, target)
    return target


def read_row(row: Mapping[str, Any], content: Mapping[str, Any]) -> PublishedRow:
    """Return a row with its scores as numbers."""
    scores = row["scores"]
    if not isinstance(scores, str):
        scores = tuple(map(float, scores))
        if len(scores) != len(content["columns"]):
            raise ValueError(
                f"row {row['label']} {row['layers']}: {len(scores)} scores in {len(content['columns'])} columns"
            )
    return PublishedRow(**{**row, "layers": str(row["layers"]), "scores": scores})


def check(path: Path, target: Target) -> None:
    """Refuse what no tool could make."""
    if target.kind not in KINDS:
        raise UserError(f"{path}: kind '{target.kind}' must be one of {', '.join(KINDS)}")
    for connection, _ in target.models():
        get_connection(connection)
    for row in target.rows:
        if isinstance(row.scores, str) and row.scores not in (FAILED, MISSING):
            raise UserError(f"{path}: scores '{row.scores}' must be numbers, {FAILED} or {MISSING}")
    for block, values, known in (("laptop", target.laptop, LAPTOP), ("trained", target.trained, TRAINED)):
        for key, value in values.items():
            if key not in known or not isinstance(value, known[key]):
                raise UserError(f"{path}: {block}.{key}: the keys are {', '.join(known)}")


def all_targets() -> Sequence[Target]:
    """Return all targets."""
    return [get_target(name) for name in TARGETS]
