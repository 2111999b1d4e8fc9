"""`b2t-fairseq patches`: what we change in fairseq and its libraries, why, and whether it is active here."""

import importlib.metadata
import inspect
import platform
import re
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from ..common.command_line import Parser
from . import NOT_APPLIED, PATCHES
from .wrap import changes_of

WIDTH = 100
DISTRIBUTIONS = ("fairseq", "ve-fairseq", "fairseq-fixed")  # all of them install the package `fairseq`


class Description(NamedTuple):
    """What a patch's docstring says.

    Attributes:
        what: the effect of the patch, its first paragraph.
        why: what happens without it.
        versions: the versions that need it.
        unnecessary: when it can be removed; None for an addition.
    """

    what: str
    why: str
    versions: str
    unnecessary: str | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the list (`b2t-fairseq patches`)."""
    parser = Parser(
        prog="b2t-fairseq patches",
        description="Lists what this package changes in fairseq, torch, numpy and Python: what, why, the versions that "
        "need it, and whether it is active in this environment.",
    )
    parser.parse_args(arguments)
    print(listing())


def listing() -> str:
    """Return the fixes, then the additions, each in the order of application."""
    blocks = [versions()]
    for kind, title in (("fixes", "Fixes of what is broken"), ("additions", "Additions for our methods and users")):
        blocks.append(f"{title}\n{'=' * len(title)}")
        blocks += [entry(patch) for patch in PATCHES if f".patches.{kind}." in patch.__name__]
    return "\n\n".join(blocks)


def versions() -> str:
    """Return the versions that decide which patches are needed."""
    parts = [f"Python {platform.python_version()}"]
    for name in ("torch", *DISTRIBUTIONS, "numpy"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(parts)


def entry(patch: ModuleType) -> str:
    """Return a patch's lines."""
    description = describe(patch)
    fields = [description.what, f"Without it: {first_sentence(description.why)}", f"Versions: {description.versions}"]
    if description.unnecessary:
        fields.append(f"Unnecessary: {description.unnecessary}")
    fields.append(state(patch))
    return "\n".join([patch.__name__.rpartition(".")[2], *map(_filled, fields)])


def state(patch: ModuleType) -> str:
    """Return whether a patch is active in this process, and what it has changed."""
    changes = changes_of(patch)
    if changes:
        return f"active: {', '.join(changes)}"
    reason = NOT_APPLIED.get(patch.__name__)
    return f"not applied ({reason})" if reason else "not needed here"


def describe(patch: ModuleType) -> Description:
    """Read a patch's docstring, whose second paragraph has a line for each of the fields.

    Raises:
        ValueError: the docstring has another form.
    """
    what, _, rest = inspect.cleandoc(patch.__doc__ or "").partition("\n\n")
    fields = re.fullmatch(
        r"Without it: (.+?)\nVersions: (.+?)(?:\nUnnecessary: (.+?))?", rest.partition("\n\n")[0], re.DOTALL
    )
    if not what or fields is None:
        raise ValueError(f"{patch.__name__}: the docstring lacks `Without it:` or `Versions:`, or their order is wrong")
    return Description(_one_line(what), fields[1], _one_line(fields[2]), fields[3] and _one_line(fields[3]))


def first_sentence(text: str) -> str:
    """Return the text up to its first full stop."""
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0].replace("\n", " ")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _filled(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
