"""Rows: what is kept of a cell for good, as JSON lines with the hypotheses beside them.

    RESULTS/SCALE/rows.jsonl                            one row a line
    RESULTS/SCALE/hypotheses/FINGERPRINT.TEST.txt.gz    what the model wrote, one line per reference

A row counts for a cell if it carries the cell's fingerprint, wherever and by whichever command it was made. Rows are
sorted, so that two machines' results merge line by line.
"""

import fcntl
import gzip
import json
import math
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from ..common.errors import UserError
from ..common.files import (
    append_record,
    holds,
    is_of_type,
    note_damage,
    read_record,
    read_records,
    replacing,
    write_record,
)
from .jobs.progress import History

Row = dict[str, Any]
ROW = "row.json"  # in a cell's folder
CURVE_POINTS = 60  # of a curve in a row; the log has them all
#: what names a cell for a reader; two rows that agree in it and differ in the fingerprint are of two versions
IDENTITY = ("task", "corpus", "layers", "connection", "recipe", "updates", "seed")
#: of cells that may stand in one table
GROUP = ("task", "corpus", "recipe", "updates")
FIELDS = {
    **{"fingerprint": str, "scale": str, "task": str, "corpus": str, "connection": str, "layers": str, "recipe": str},
    **{"seed": int, "updates": (int, NoneType), "failure": (str, NoneType), "scores": dict, "curve": dict},
    **{"seconds": dict, "machine": dict},
}


def identity(row: Mapping[str, Any]) -> tuple:
    """Return what names a row's cell for a reader (`IDENTITY`)."""
    return tuple(row[field] for field in IDENTITY)


def version(row: Mapping[str, Any]) -> tuple:
    """Return what tells two versions of a recipe apart in the rows of one method and depth: the training's options.

    Seed and folders, which differ from cell to cell, are left out.
    """
    command = str(row.get("command") or "")
    try:
        words = shlex.split(command)
    except ValueError:  # an odd quotation mark
        words = command.split()
    seeds = {place + 1 for place, word in enumerate(words) if word == "--seed"}
    return tuple(word for place, word in enumerate(words) if place not in seeds and "/" not in word)


def corpus_version(row: Mapping[str, Any]) -> tuple:
    """Return what tells two versions of a corpus apart: its counts and the unigram level."""
    return row.get("unigram"), json.dumps(row.get("counts"), sort_keys=True)


def of_one_version(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that may stand side by side: of each cell the one that was made last.

    Beside it stands none that an older version of its corpus or recipe made. Rows at paper scale, whose commands name
    folders of their machines, are not compared.
    """
    dated = sorted(rows, key=lambda row: str(row["machine"].get("date")))
    newest = {identity(row): row for row in dated}
    corpora = {tuple(row[field] for field in GROUP): corpus_version(row) for row in dated}
    recipes = {identity(row)[:-1]: version(row) for row in dated}
    return [
        row
        for row in newest.values()
        if row["scale"] == "paper"
        or corpora[tuple(row[field] for field in GROUP)] == corpus_version(row)
        and recipes[identity(row)[:-1]] == version(row)
    ]


def describe(row: Mapping[str, Any]) -> str:
    """Return a row's cell in words: `mt embedded b2t 18-18 quickstart, 1200 updates, seed 1`."""
    words = ("task", "corpus", "connection", "layers", "recipe")
    updates = "" if row["updates"] is None else f", {row['updates']} updates"  # the recipe's own
    return " ".join(str(row[word]) for word in words) + f"{updates}, seed {row['seed']}"


def write_row(folder: Path, row: Row, hypotheses: Mapping[str, Sequence[str]]) -> None:
    """Write a cell's row and hypotheses into its folder."""
    for test, lines in hypotheses.items():
        pack(folder / f"hypotheses.{test}.txt.gz", lines)
    write_record(folder / ROW, clean(row))


def read_row(folder: Path, fingerprint: str) -> Row | None:
    """Return the row in a cell's folder; None if there is none, or it is another cell's."""
    row = clean(read_record(folder / ROW, **FIELDS))
    return row if row is not None and row["fingerprint"] == fingerprint and is_sound(row, folder / ROW) else None


def is_sound(row: Row, path: Path) -> bool:
    """Return whether what a row holds can be shown and compared; notes what cannot.

    Args:
        row: with `FIELDS` of the right types.
        path: of its file, for the note.
    """
    number = (int, float)
    scores = [score for named in row["scores"].values() for score in (named.values() if is_named(named) else [None])]
    points = [point for curve in row["curve"].values() for point in (curve if isinstance(curve, list) else [None])]
    checks = {
        **{name: row[name] and not set(row[name]) & {"/", "\0"} for name in ("task", "corpus", "connection", "recipe")},
        "layers": re.fullmatch(r"[1-9]\d*(-[1-9]\d*)?", row["layers"]),
        "scores": all(holds(score, {"score": (*number, NoneType), "signature": str}) for score in scores),
        "curve": all(map(is_point, points)),
        "seconds": all(is_of_type(value, number) for value in row["seconds"].values()),
        "unigram": is_of_type(row.get("unigram"), (*number, NoneType)),
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if wrong:
        note_damage(f"{path}, row {row['fingerprint']}", ValueError(f"unexpected {', '.join(wrong)}"))
    return not wrong


def is_named(value: Any) -> bool:
    """Return whether a JSON value is a record that holds something."""
    return isinstance(value, dict) and bool(value)


def is_point(point: Any) -> bool:
    """Return whether a JSON value is a point of a curve: an update, and a number or None."""
    if not isinstance(point, list) or len(point) != 2:
        return False
    return is_of_type(point[0], int) and is_of_type(point[1], (int, float, NoneType))


def read_hypotheses(folder: Path, tests: Sequence[str]) -> dict[str, list[str]]:
    """Return the hypotheses in a cell's folder, of the tests that have some."""
    paths = {test: folder / f"hypotheses.{test}.txt.gz" for test in tests}
    return {test: unpack(path) for test, path in paths.items() if path.exists()}


def thinned(curve: Mapping[int, float], points: int = CURVE_POINTS) -> list[list[float]]:
    """Return a curve as [update, value] pairs; of a long one evenly chosen points, with the first, last and lowest.

    The lowest validation loss is what figure 8 shows, and what the rule for flattened curves looks at.
    """
    pairs = sorted(curve.items())
    if len(pairs) > points:
        lowest = min(pairs, key=lambda pair: pair[1] if math.isfinite(pair[1]) else math.inf)
        pairs = sorted({lowest, *(pairs[round(k * (len(pairs) - 1) / (points - 1))] for k in range(points))})
    return [[update, round(value, 4) if math.isfinite(value) else value] for update, value in pairs]


def curves(history: History) -> dict[str, list[list[float]]]:
    """Return a training's curves for its row: NLL in bits per token against updates."""
    return {"train": thinned(history.train), "valid": thinned(history.valid)}


def clean(value: Any) -> Any:
    """Return a value for JSON: NaN and infinity become null, a key becomes text, what is not UTF-8 its escapes."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(inner) for key, inner in value.items()}
    return [clean(inner) for inner in value] if isinstance(value, list | tuple) else value


class Results:
    """The rows of one scale in a results folder.

    Attributes:
        folder: `RESULTS/SCALE`.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def path(self) -> Path:
        """Return the file of the rows."""
        return self.folder / "rows.jsonl"

    def rows(self) -> dict[str, Row]:
        """Return the rows by fingerprint; a damaged line is noted and left out."""
        return self.read()[0]

    def read(self) -> tuple[dict[str, Row], list[str]]:
        """Return the rows by fingerprint, and the lines that are none; of one with odd values its cleaned record."""
        damaged: list[str] = []
        rows = {}
        for row in map(clean, read_records(self.path, damaged, **FIELDS)):
            if is_sound(row, self.path):
                rows[row["fingerprint"]] = row
            else:
                damaged.append(json.dumps(row, ensure_ascii=False))
        return rows, damaged

    def hypotheses(self, fingerprint: str, test: str) -> list[str] | None:
        """Return what a cell's model wrote for a test; None if that is not kept."""
        path = self.hypotheses_path(fingerprint, test)
        return unpack(path) if path.exists() else None

    def all_hypotheses(self, row: Row) -> dict[str, list[str]]:
        """Return what a row's model wrote, by test set, as far as that is kept."""
        written = {test: self.hypotheses(row["fingerprint"], test) for test in row["scores"]}
        return {test: lines for test, lines in written.items() if lines is not None}

    def hypotheses_path(self, fingerprint: str, test: str) -> Path:
        """Return the file of a cell's hypotheses."""
        return self.folder / "hypotheses" / f"{fingerprint}.{test}.txt.gz"

    def add(self, row: Row, hypotheses: Mapping[str, Sequence[str]]) -> None:
        """Add a row, or replace the one with its fingerprint; processes that do so at the same time take turns.

        Damaged lines stay at the end of the file (`read`), for the user to mend.
        """
        with self.turn():
            for test, lines in hypotheses.items():
                path = self.hypotheses_path(row["fingerprint"], test)
                path.parent.mkdir(parents=True, exist_ok=True)
                pack(path, lines)
            rows, damaged = self.read()
            rows[row["fingerprint"]] = clean(row)
            ordered = sorted(rows.values(), key=lambda row: (*map(str, identity(row)), row["fingerprint"]))
            lines = [*(json.dumps(row, ensure_ascii=False) for row in ordered), *damaged]
            with replacing(self.path) as temporary:
                temporary.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))

    def add_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to one of the other files of JSON lines."""
        with self.turn():
            append_record(self.folder / name, clean(record))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for other processes that write here, and keep them waiting within the block."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self.folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (held until the block ends)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"results folder {self.folder} cannot be written ({reason}): name another") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def pack(path: Path, lines: Sequence[str]) -> None:
    """Write lines, compressed; the same lines always give the same bytes."""
    text = "".join(f"{line}\n" for line in lines)
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


def unpack(path: Path) -> list[str]:
    """Read what `pack` wrote.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[:-1]
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it, and its cell's row, to make them anew") from error
