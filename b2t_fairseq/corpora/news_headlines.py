"""Additional headline pairs from RealNews and NewsCrawl, in Gigaword's form, streamed: memory does not grow.

RealNews: JSON lines with "title" and "text", plain, gz or inside a tar. NewsCrawl with documents: "date TAB base64 of
the document, one sentence per line TAB base64 of the document", whose first line is the headline (our reading). A pair
is a document's first sentence and its headline, Moses tokens in lower case with `#` for each digit. How the paper's
authors chose their 13 M pairs is not said; the limits below are our reading, too.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from ..common.errors import UserError
from ..common.files import replacing
from . import parallel_text
from .fetching.manifest import say

LONGEST_LINE = 1 << 24  # bytes; a longer document is left out, unread
TEXT_WORDS, HEADLINE_WORDS = (10, 100), (3, 30)
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+(?=[\"'(\[“‘]?[A-Z0-9])")
ABBREVIATION = re.compile(
    r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|St|Sen|Rep|Gov|Gen|Jr|Sr|No|Inc|Corp|Co|Ltd|vs|[A-Z](?:\.[A-Z])*)\.$"
)
SEEN_BITS = 1 << 29  # 64 MB: with 13 M pairs one new pair in 10,000 is taken for a repetition


class Seen:
    """A Bloom filter: knows, in bounded memory, whether a text was there; errs now and then by saying yes."""

    def __init__(self, bits: int = SEEN_BITS):
        self.bits = bits
        self.table = bytearray(bits // 8)

    def add(self, text: str) -> bool:
        """Remember a text; return whether it was new."""
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=32).digest()
        new = False
        for start in range(0, 32, 8):
            place, bit = divmod(int.from_bytes(digest[start : start + 8], "little") % self.bits, 8)
            new |= not self.table[place] >> bit & 1
            self.table[place] |= 1 << bit
        return new


def extract_pairs(sources: Sequence[Path], prefix: Path, limit: int | None = None, seen: Seen | None = None) -> Counter:
    """Write PREFIX.article and PREFIX.title, all or nothing; return counts, also of what was left out and why.

    Args:
        sources: files, or folders of them.
        prefix: where to.
        limit: most pairs.
        seen: repeated texts, to be shared by several calls.
    """
    targets = [prefix.with_name(f"{prefix.name}.{side}") for side in ("article", "title")]
    prefix.parent.mkdir(parents=True, exist_ok=True)
    seen, tokenise, counts = Seen() if seen is None else seen, tokeniser(), Counter()
    with (
        replacing(targets[0]) as text_file,
        replacing(targets[1]) as headline_file,
        open(text_file, "w", encoding="utf-8", newline="\n") as texts,
        open(headline_file, "w", encoding="utf-8", newline="\n") as headlines,
    ):
        for document in documents(files_of(sources), counts):
            if limit is not None and counts["pairs"] >= limit:
                break
            reason, text, headline = pair_of(*document, tokenise)
            if not reason and not seen.add(f"{text}\t{headline}"):
                reason = "repeated"
            if reason:
                counts[reason] += 1
                continue
            texts.write(text + "\n")
            headlines.write(headline + "\n")
            counts["pairs"] += 1
        if not counts["pairs"]:
            raise UserError(f"{sources[0]}: no headline pair was found ({dict(counts)}); is it RealNews or NewsCrawl?")
    say(f"{prefix}: " + ", ".join(f"{what} {number:,}" for what, number in counts.items()))
    return counts


def files_of(sources: Sequence[Path]) -> list[Path]:
    """Return the files themselves, and those of folders in order of their names."""
    files = []
    for source in sources:
        if not source.exists():
            raise UserError(f"{source}: no such file or folder")
        inside = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
        files += sorted(inside)
    return files


def documents(files: Sequence[Path], counts: Counter) -> Iterator[tuple[str, str]]:
    """Yield (headline, text) of each document."""
    for path in files:
        for line in tqdm(lines_of(path, counts), desc=path.name, unit=" documents", disable=None, mininterval=1):
            try:
                document = from_json(line) if line.lstrip()[:1] == b"{" else from_base64(line)
            except (ValueError, LookupError, TypeError, RecursionError):
                counts["malformed"] += 1
                continue
            yield document


def lines_of(path: Path, counts: Counter) -> Iterator[bytes]:
    """Yield the lines of a plain or gz file, or of all files in a tar; one that is too long is skipped in pieces."""
    try:
        for stream in streams_of(path):
            with stream:
                whole = True
                while line := stream.readline(LONGEST_LINE):
                    ends = line.endswith(b"\n")
                    if whole and (ends or len(line) < LONGEST_LINE) and line.strip():
                        yield line
                    elif whole and not ends:
                        counts["too long to read"] += 1
                    whole = ends
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or incomplete ({error}): fetch it again") from None


def streams_of(path: Path) -> Iterator[IO[bytes]]:
    """Yield the file's content, unpacked while it is read."""
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        with tarfile.open(path, "r|*") as packed:
            for entry in packed:
                packed.members = []  # else a list of all members grows
                if entry.isfile():
                    yield io.BufferedReader(packed.extractfile(entry))
    else:
        yield gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # noqa: SIM115 (closed by the caller)


def from_json(line: bytes) -> tuple[str, str]:
    """Return (headline, text) of a line of RealNews."""
    document = json.loads(line)
    sides = [str(document[side] or "") for side in ("title", "text")]
    return tuple(side.encode("utf-8", "replace").decode("utf-8") for side in sides)  # half surrogates cannot be written


def from_base64(line: bytes) -> tuple[str, str]:
    """Return (headline, text) of a line of NewsCrawl; the text has one sentence a line."""
    document = base64.b64decode(line.rstrip(b"\r\n").split(b"\t")[1], validate=True).decode("utf-8")
    headline, *rest = [sentence for sentence in document.split("\n") if sentence.strip()]
    return headline, "\n".join(rest)


def pair_of(headline: str, text: str, tokenise: Callable[[str], str]) -> tuple[str, str, str]:
    """Return (why it is left out or "", first sentence, headline)."""
    sentence, title = tokenise(first_sentence(text)), tokenise(headline)
    for what, words, (least, most) in (("text", sentence, TEXT_WORDS), ("headline", title, HEADLINE_WORDS)):
        length = len(words.split())
        if not least <= length <= most:
            return f"{what} too {'short' if length < least else 'long'}", "", ""
    if title in sentence or sentence in title:
        return "headline in text", "", ""
    return "", sentence, title


def first_sentence(text: str) -> str:
    """Return the first sentence of the first line that is not empty; an abbreviation does not end it."""
    line = next((cleaned for line in text[:20_000].split("\n") if (cleaned := parallel_text.clean(line))), "")[:5000]
    for end in SENTENCE_END.finditer(line):
        if not ABBREVIATION.search(line[: end.start()]):
            return line[: end.start()]
    return line


def tokeniser() -> Callable[[str], str]:
    """Return the function that makes Moses tokens in lower case, a `#` for each digit, as in Gigaword."""
    from sacremoses import MosesTokenizer

    moses = MosesTokenizer(lang="en")
    digits = re.compile(r"\d")

    def tokenise(text: str) -> str:
        cleaned = parallel_text.clean(text)
        return digits.sub("#", moses.tokenize(cleaned, return_str=True, escape=False).lower())

    return tokenise
