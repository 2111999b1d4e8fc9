"""fairseq's binarised data from text, by `preprocess` in a process of its own; what it wrote is counted."""

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ...common import processes
from ...common.command_line import ours
from ...common.errors import UserError


def binarise(folder: Path, arguments: Sequence[str | os.PathLike], workers: int) -> dict[str, int]:
    """Run `preprocess` with `--destdir folder` and count what it wrote.

    Returns:
        Counts: lines of each file, "train.en" and the like.

    Raises:
        UserError: it failed; the message ends with its last line and names `folder.log`, which holds all.
    """
    command = ours("preprocess", *map(str, arguments), "--destdir", str(folder), "--workers", str(workers))
    log = folder.with_name(folder.name + ".log")
    try:
        processes.run(command, env=processes.environment(), stderr=subprocess.STDOUT)
    except subprocess.CalledProcessError as error:
        log.write_text(error.output, encoding="utf-8")
        last = (error.output.strip() or f"exit status {error.returncode}").splitlines()[-1]
        raise UserError(f"preprocess failed: {last} (all of its output: {log})") from None
    log.unlink(missing_ok=True)  # of an earlier failure
    return {f"{name_of(path)} lines": sentences(path) for path in sorted(folder.glob("*.idx"))}


def name_of(index: Path) -> str:
    """Return `train.en` of `train.en-de.en.idx`; `train` of `train.idx`."""
    split, *languages = index.name.removesuffix(".idx").split(".")
    return f"{split}.{languages[-1]}" if languages and languages[-1] != "None" else split


def sentences(index: Path) -> int:
    """Read how many sentences a binarised file holds: after 9 bytes of magic, 8 of version and 1 of type."""
    with open(index, "rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(b"MMIDIDX"):
        raise UserError(f"{index} is not a binarised index: delete its folder and run again")
    return struct.unpack("<Q", head[18:26])[0]


def same_counts(counts: dict[str, int], texts: dict[str, Path]) -> None:
    """Refuse binarised data that lack lines of the text they were made from."""
    for name, path in texts.items():
        with open(path, encoding="utf-8", errors="replace") as file:  # as fairseq reads: CR ends a line, too
            number = sum(1 for _ in file)
        if counts.get(f"{name} lines") != number:
            raise UserError(
                f"the binarised {name} has {counts.get(f'{name} lines')} lines and {path} has {number}: run again; "
                "if it happens twice, with --workers 1"
            )
