"""Lines of text as scores read them: one reader for hypotheses and references, fairseq's own for what it counted."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..common.errors import UserError

#: subwords that nobody has joined: "Ma@@ nn" of subword-nmt, "▁Mann" of SentencePiece
SUBWORDS = re.compile(r"(?:^| )(?:\S+@@(?= |$)|▁)")


def decoded(path: str | os.PathLike) -> str:
    """Read a UTF-8 file without its byte-order mark, line ends as they are.

    Raises:
        UserError: it is not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8 (byte {error.start}): convert it first") from error


def read_lines(path: str | os.PathLike) -> list[str]:
    """Read the lines of a UTF-8 text file, ended by line feeds only (`splitlines` would also cut at U+2028 or CR).

    A byte-order mark and the CR of a CRLF are dropped; a CR within a line is a space.
    """
    text = decoded(path).replace("\r\n", "\n").replace("\r", " ")
    return text.removesuffix("\n").split("\n") if text else []


def read_lines_as_fairseq(path: str | os.PathLike) -> list[str]:
    """Read the lines that `fairseq-preprocess` sees: a CR ends a line, too."""
    text = decoded(path).replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def refuse_unjoined(hypotheses: Sequence[str], references: Sequence[str], metric: str) -> None:
    """Refuse hypotheses whose subwords nobody joined; references that hold such marks themselves allow them.

    Raises:
        UserError: names the first one, and fairseq's option.
    """
    if any(map(SUBWORDS.search, references)):
        return
    for number, hypothesis in enumerate(hypotheses, 1):
        if SUBWORDS.search(hypothesis):
            option = "sentencepiece" if "▁" in hypothesis else "subword_nmt"
            raise UserError(
                f"hypothesis {number} consists of subwords, {hypothesis[:40]!r}: there is no {metric} of subwords; run "
                f"generate with --post-process {option}, which joins them"
            )
