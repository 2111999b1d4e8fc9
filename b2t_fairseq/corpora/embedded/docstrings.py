"""Headlines from installed documentation: a docstring's first sentence is the headline, what follows is the text.

The sources of the standard library, numpy, scipy, scikit-learn and torch are parsed, never imported, so nothing runs
and nothing prints. Everything is lower-cased, as in Gigaword. No text and no headline occurs twice, so none is in two
splits; which split a pair belongs to is decided by a hash of its headline, whatever else is installed.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

PACKAGES = {"numpy": "numpy", "scipy": "scipy", "scikit-learn": "sklearn", "torch": "torch"}  # distribution: module
SKIPPED = {"site-packages", "dist-packages", "tests", "test", "testing", "idle_test", "lib2to3", "__pycache__"}
LONGEST_TEXT = 40  # words
PERMILLE = {"valid": 40, "test": 40}
#: the first sentence ends at a full stop that ends a word and is followed by what may begin a sentence, or by nothing
SENTENCE = re.compile(r"(.+?[\w)\"'`\]])\.(?:\s+(?=[^a-z\s])|$)(.*)", re.DOTALL)
RULES = re.compile(r"[-=~*^`]{3,}|>>>|\.\. (?=\w)")
MARKS = re.compile(r"``?|:(?:class|func|meth|mod|attr|math|ref|obj|term|exc):(?=`)|(?<=:):")


class Docstrings:
    """The corpus of the running Python; finding the files is quick, reading them takes some seconds."""

    def __init__(self):
        self.versions = {"python": platform.python_version()}
        roots = [Path(sysconfig.get_path("stdlib"))]
        for distribution, module in PACKAGES.items():
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                self.versions[distribution] = "missing"
                continue
            self.versions[distribution] = version_of(distribution)
            roots.append(Path(spec.origin).parent)
        self.files = [path for root in roots for path in sources(root)]
        self.unreadable: list[str] = []

    @property
    def signature(self) -> str:
        """Versions of all sources, a package that is not installed as `missing`, and files that could not be read."""
        versions = "|".join(f"{name}:{version}" for name, version in self.versions.items())
        unreadable = f"|unreadable:{','.join(self.unreadable)}" if self.unreadable else ""
        return f"corpus:docstrings|{versions}{unreadable}"

    def fingerprint(self) -> str:
        """Return a hash that changes with any file's size or place, without reading a file."""
        listing = "\n".join(f"{path} {path.stat().st_size}" for path in self.files)
        return hashlib.sha256(f"{self.signature}\n{listing}".encode()).hexdigest()[:12]

    @cached_property
    def splits(self) -> dict[str, list[tuple[str, str]]]:
        """(text, headline) pairs: train, valid and test."""
        parts: dict[str, list[tuple[str, str]]] = {"train": [], "valid": [], "test": []}
        texts, headlines = set(), set()
        for path in tqdm(self.files, desc="docstrings", unit=" files", leave=False, disable=None):
            for docstring in self.docstrings(path):
                text, headline = halves(docstring)
                if is_usable(text, headline) and text not in texts and headline not in headlines:
                    texts.add(text)
                    headlines.add(headline)
                    parts[split_of(headline)].append((text, headline))
        return parts

    def docstrings(self, path: Path) -> Iterator[str]:
        """Yield a file's docstrings (module, classes, functions); the signature notes a file that is not Python."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in other people's strings
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, OSError):
            self.unreadable.append(path.name)
            return
        pending: list[ast.AST] = [tree]
        while pending:  # docstrings are in statements only: expressions, most of a tree, need no visit
            node = pending.pop()
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring:
                    yield docstring
            pending += [child for child in reversed(list(ast.iter_child_nodes(node))) if isinstance(child, ast.stmt)]


def sources(root: Path) -> list[Path]:
    """Return all Python files below a folder, without tests."""
    paths = [path for path in root.rglob("*.py") if not SKIPPED & set(path.relative_to(root).parts)]
    return sorted(paths)


def version_of(distribution: str) -> str:
    """Return the installed version; a package without metadata is still a source."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def halves(docstring: str) -> tuple[str, str]:
    """Return text and headline of a docstring, lower-case, without markup; either may be empty."""
    first, _, rest = docstring.strip().partition("\n\n")
    sentence = SENTENCE.match(first)
    headline, more = (sentence[1], sentence[2]) if sentence else (first, "")
    words = plain(f"{more} {rest}").split()[:LONGEST_TEXT]
    return " ".join(words), plain(headline)


def plain(text: str) -> str:
    """Return lower-case words between single spaces, without reStructuredText's marks and underlines."""
    return " ".join(RULES.sub(" ", MARKS.sub("", text)).lower().split())


def is_usable(text: str, headline: str) -> bool:
    """Return whether there is enough of both; English in ASCII only."""
    return 3 <= len(headline.split()) <= 20 and len(text.split()) >= 8 and text.isascii() and headline.isascii()


def split_of(headline: str) -> str:
    """Return the split, by a hash: the same headline is always in the same split."""
    number = int(hashlib.sha256(headline.encode()).hexdigest(), 16) % 1000
    if number < PERMILLE["test"]:
        return "test"
    return "valid" if number < PERMILLE["test"] + PERMILLE["valid"] else "train"
