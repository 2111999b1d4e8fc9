"""Joint byte-pair encoding by subword-nmt, on all cores.

Each worker asks subword-nmt itself once for a word and remembers its answer; the output is, byte for byte, what
`subword-nmt apply-bpe` writes.

    python -m b2t_fairseq.corpora.bpe --codes CODES --input TEXT --output OUT

applies codes and prints the lines per second.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.command_line import Parser, guarded, positive
from ..common.errors import UserError
from ..common.files import replacing
from .fetching.manifest import say
from .fetching.parts import convert_lines

STRIPPED = "\r\n "  # what subword-nmt takes off a line's ends and puts back


def learn(texts: Sequence[Path], codes: Path, merges: int, workers: int) -> dict[str, int]:
    """Learn merges on all texts together, by subword-nmt's own `learn_bpe` with its own workers.

    Returns:
        Counts: merges found, which are fewer than asked for if the texts are small.
    """
    from subword_nmt.learn_bpe import learn_bpe

    together = codes.with_name(codes.name + ".text")
    try:
        with open(together, "wb") as joined:
            for text in texts:
                with open(text, "rb") as file:
                    while block := file.read(1 << 20):
                        joined.write(block)
        progress = io.StringIO()  # its own, and a remark when no pair is frequent enough
        with (
            open(together, encoding="utf-8", newline="\n") as text,
            open(codes, "w", encoding="utf-8", newline="\n") as file,
            contextlib.redirect_stderr(progress),
        ):
            learn_bpe(text, file, merges, num_workers=workers)
    except (ValueError, IndexError) as error:
        raise UserError(f"no pair of characters can be learned from {texts[0]} and others: {error}") from None
    finally:
        together.unlink(missing_ok=True)
    with open(codes, encoding="utf-8") as file:
        return {"merges": sum(1 for _ in file) - 1}


def apply(text: Path, target: Path, codes: Path, workers: int) -> dict[str, float]:
    """Encode a text in parts; return lines, seconds and lines per second."""
    return convert_lines(text, target, encoder, (codes,), workers)


class Remembered(dict):
    """word -> its pieces as text, asked of subword-nmt when it first occurs."""

    def __init__(self, segment: Callable[[str], str]):
        super().__init__()
        self.segment = segment

    def __missing__(self, word: str) -> str:
        pieces = self[word] = self.segment(word)
        return pieces


def encoder(codes: Path) -> Callable[[str], str]:
    """Return the function that encodes a line, which may hold Unicode line ends, where subword-nmt's reader cuts."""
    from subword_nmt.apply_bpe import BPE

    try:
        with open(codes, encoding="utf-8") as file, contextlib.redirect_stderr(io.StringIO()):
            bpe = BPE(file)
    except SystemExit:
        raise UserError(f"{codes} holds no BPE codes (two units a line): fetch or learn it again") from None
    pieces_of = Remembered(bpe.segment).__getitem__

    def encode(line: str) -> str:
        words = line.strip(STRIPPED)
        if not words:
            return bpe.process_line(line)
        pieces = " ".join(map(pieces_of, filter(None, words.split(" "))))
        begin = 0 if line.startswith(words) else line.index(words)
        return line[:begin] + pieces + line[begin + len(words) :]

    def encode_all(line: str) -> str:
        parts = line.splitlines(keepends=True)
        return encode(line) if len(parts) == 1 else "".join(map(encode, parts))

    return encode_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Apply codes to a file and print the speed."""
    parser = Parser(prog="python -m b2t_fairseq.corpora.bpe", description="Apply BPE codes to a text.")
    for option in ("--codes", "--input", "--output"):
        parser.add_argument(option, required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="(default: all cores)"
    )
    options = parser.parse_args(arguments)
    with replacing(options.output) as temporary:
        counts = apply(options.input, temporary, options.codes, options.workers)
    say(f"{counts['lines']:,} lines in {counts['seconds']} s: {counts['lines per second']:,} lines per second")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
