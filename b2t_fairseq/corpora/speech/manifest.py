"""Manifests of speech data, as fairseq's speech tasks read them: one TSV a split, a row an utterance."""

import os
from collections.abc import Sequence
from pathlib import Path

from ...common.errors import UserError
from ...common.files import replacing

COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


def read_manifest(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read the rows of a TSV manifest, by column.

    Raises:
        UserError: a column that fairseq needs is missing, a line has another number of fields, an identifier is there
            twice, a text is empty or a number of frames is not a number.
    """
    try:
        head, *lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8 (byte {error.start}): convert it first") from None
    columns, rows, seen = head.split("\t"), [], set()
    if lacking := [name for name in ("id", "audio", "n_frames", "tgt_text") if name not in columns]:
        raise UserError(
            f"{path} lacks the column {lacking[0]}: it must be a manifest with id, audio, n_frames, tgt_text"
        )
    for number, line in enumerate(lines, 2):
        row = dict(zip(columns, line.split("\t"), strict=False))
        where = f"{path}, line {number}"
        if len(line.split("\t")) != len(columns):
            raise UserError(f"{where}: {len(line.split(chr(9)))} fields where the head has {len(columns)}")
        if row["id"] in seen:
            raise UserError(f"{where}: the identifier {row['id']} is there twice")
        if not row["tgt_text"].strip():
            raise UserError(f"{where}: the text of {row['id']} is empty")
        if not row["n_frames"].isdecimal() or int(row["n_frames"]) == 0:
            raise UserError(f"{where}: {row['n_frames']} is not a number of frames")
        seen.add(row["id"])
        rows.append(row)
    if not rows:
        raise UserError(f"{path} holds no utterance")
    return rows


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Write a TSV without quoting, as fairseq reads it: fields are stripped of tabs and line ends."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for row in (columns, *rows):
            file.write("\t".join(" ".join(str(field).split()) for field in row) + "\n")
