"""English prose that comes with every Python: the language reference, as `pydoc_data.topics` holds it for `help()`.

Paragraphs are lines, tokenised as WikiText's; grammar rules, examples and tables are left out. Topics are
split by a hash of their names, so that a split stays what it is when Python gains a topic. Topics quote each other at
length: a paragraph that occurs in test is not kept in valid, and one in either not in train; none occurs twice.
"""

import hashlib
import platform
import re

from ..parallel_text import CorpusError
from ..wikitext import Text, tokenise

SHARE = {"test": 12, "valid": 12}  # percent of the topics; the rest is for training
BROKEN_HYPHEN = re.compile(r"(\w)-\n\s*(\w)")
NO_PROSE = re.compile(r"::=|>>>|^\s*(\||\+[-=]|\.\.\. )|^[\s*=~^+-]+$", re.MULTILINE)
MARKUP = re.compile(r"(?<!\w)\*\*?(?=\w)|(?<=\w)\*\*?(?!\w)|\"(?=\S)|(?<=\S)\"|\"\"|\u201c|\u201d")


def load() -> Text:
    """Return the corpus of the Python that runs; its version stands in the signature.

    Raises:
        CorpusError: this Python has no topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError("this Python was packed without pydoc_data.topics; name a text with --data") from error
    parts: dict[str, list[str]] = {"test": [], "valid": [], "train": []}
    seen: set[str] = set()
    for split in parts:  # in this order: evaluation keeps its paragraphs, training gives way
        for name in sorted(name for name in topics if split_of(name) == split):
            for paragraph in paragraphs(topics[name]):
                if paragraph not in seen:
                    seen.add(paragraph)
                    parts[split].append(paragraph)
    splits = {name: tokenise(parts[name]) for name in ("train", "valid", "test")}
    return Text(splits, f"corpus:pydoc_data.topics|python:{platform.python_version()}|tokenise:wikitext")


def split_of(topic: str) -> str:
    """Return where a topic belongs, by its name alone."""
    percent = int(hashlib.sha256(topic.encode()).hexdigest(), 16) % 100
    if percent < SHARE["test"]:
        return "test"
    return "valid" if percent < SHARE["test"] + SHARE["valid"] else "train"


def paragraphs(topic: str) -> list[str]:
    """Return the prose of a topic, a paragraph a line, without reStructuredText's quotes and stars."""
    prose = []
    for block in re.split(r"\n\s*\n", topic):
        if NO_PROSE.search(block) or is_code(block):
            continue
        line = " ".join(MARKUP.sub("", BROKEN_HYPHEN.sub(r"\1-\2", block)).split())
        if len(line.split()) >= 5:
            prose.append(line)
    return prose


def is_code(block: str) -> bool:
    """Return whether an indented block is an example: it has as many brackets and operators as a program."""
    return block.startswith("   ") and len(re.findall(r"[=(){}\[\]:#]|\bdef\b|\bprint\b", block)) > len(block) / 18
