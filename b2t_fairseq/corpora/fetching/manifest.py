"""`manifest.json`: where a corpus came from, what was checked, which versions made it, and what is in it."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import holds, locked, read_record, write_record
from ...version import __version__

PACKAGES = (
    "sacrebleu",
    "sacremoses",
    "sentencepiece",
    "subword-nmt",
    "ve-fairseq",
    "fairseq-fixed",
    "fairseq",
    "torch",
)


#: what the entries of a section that outlives a run must hold
SECTIONS = {"sources": {"sha256": str, "verified": str}, "steps": {"counts": dict}}


def say(text: str) -> None:
    """Print progress to stderr: it is for people."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Published:
    """A number that was published for a corpus, and how exactly: 4.5 M is 4,500,000 +- 50,000."""

    what: str
    number: int
    within: int = 0


class Manifest:
    """The record of one prepared corpus; every change is written at once.

    Attributes:
        folder: the corpus' folder, which is made.
        content: what the file holds.
    """

    def __init__(self, folder: str | os.PathLike, corpus: str):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "manifest.json"
        self.content = read_record(self.path, corpus=str) or {"corpus": corpus}
        self.content["corpus"] = self.content["corpus"].replace("-", "_")  # an older version's spelling
        if self.content["corpus"] != corpus.replace("-", "_"):
            raise UserError(f"{self.path} belongs to another corpus than {corpus}: choose another --output")
        for section, types in SECTIONS.items():
            self.content[section] = entries(self.content.get(section), types)
        self.content["versions"], self.content["checks"] = versions(), {}

    def record(self, section: str, name: str, entry: Any) -> None:
        """Set one entry and save."""
        self.content.setdefault(section, {})[name] = entry
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_record(self.path, self.content)

    def check(self, published: Published, number: int) -> bool:
        """Compare a count with the published one; warn if they differ, and record both."""
        agrees = abs(number - published.number) <= published.within
        about = f" (± {published.within:,})" if published.within else ""
        if not agrees:
            say(
                f"warning: {published.what}: {number:,}, but {published.number:,}{about} are published; these are not "
                "the paper's data, or not all of them (the preparation continues)"
            )
        entry = {"found": number, "published": published.number, "within": published.within, "agrees": agrees}
        self.record("checks", published.what, entry)
        return agrees

    @contextlib.contextmanager
    def locked(self) -> Iterator["Manifest"]:
        """Keep a second preparation out of the folder."""
        with locked(self.folder, "preparation"):
            yield self


def entries(section: Any, types: dict[str, type]) -> dict[str, dict]:
    """Return the entries of a section as read from a file, without damaged ones: each holds values of these types."""
    if not isinstance(section, dict):
        return {}
    return {name: entry for name, entry in section.items() if holds(entry, types)}


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the packages that make the data."""
    installed = {"python": platform.python_version(), "b2t_fairseq": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed
