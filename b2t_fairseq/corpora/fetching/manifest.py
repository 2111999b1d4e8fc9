"""``manifest.json``: where a corpus came from, what was checked, which versions made it, and what is in it."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import write_record
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


def say(text: str) -> None:
    """Progress is for people: it goes to stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Published:
    """A number that was published for a corpus, and how exactly: 4.5 M is 4,500,000 +- 50,000."""

    what: str
    number: int
    within: int = 0


class Manifest:
    """The record of one prepared corpus; every change is written at once, under a temporary name first.

    Attributes:
        folder: the corpus' folder, which is made.
        content: what the file holds.
    """

    def __init__(self, folder: str | os.PathLike, corpus: str):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "manifest.json"
        self.content: dict[str, Any] = {"corpus": corpus}
        with contextlib.suppress(OSError, ValueError):
            self.content = json.loads(self.path.read_text(encoding="utf-8"))
        if isinstance(self.content, dict) and isinstance(self.content.get("corpus"), str):
            self.content["corpus"] = self.content["corpus"].replace("-", "_")  # an older version's spelling
        if not isinstance(self.content, dict) or self.content.get("corpus") != corpus.replace("-", "_"):
            raise UserError(f"{self.path} belongs to another corpus than {corpus}: choose another --output")
        for section in ("sources", "steps"):
            self.content.setdefault(section, {})
        self.content["versions"], self.content["checks"] = versions(), {}

    def record(self, section: str, name: str, entry: Any) -> None:
        """Sets one entry and saves."""
        self.content.setdefault(section, {})[name] = entry
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_record(self.path, self.content)

    def check(self, published: Published, found: int) -> bool:
        """Compares a count with the published one; says so if they differ, and records both."""
        agrees = abs(found - published.number) <= published.within
        about = f" (± {published.within:,})" if published.within else ""
        if not agrees:
            say(
                f"warning: {published.what}: {found:,}, but {published.number:,}{about} are published; these are not "
                "the paper's data, or not all of them (the work goes on)"
            )
        entry = {"found": found, "published": published.number, "within": published.within, "agrees": agrees}
        self.record("checks", published.what, entry)
        return agrees

    @contextlib.contextmanager
    def locked(self):
        """Only one preparation at a time works in the folder; the lock ends with the process, however that ends."""
        with open(self.folder / ".lock", "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another preparation is working in {self.folder}: wait for it or stop it") from None
            yield self


def versions() -> dict[str, str]:
    """Python, this package and the packages that make the data."""
    found = {"python": platform.python_version(), "b2t_fairseq": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
