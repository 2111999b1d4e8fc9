"""All families of sentences, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable

from .complex import condition, purpose, reason, relative, report
from .draw import Draw
from .simple import Pair, being, liking, question, statement, timetable

# How often each family is drawn. Fewer, heavier families are easier to learn; every family adds word order of its own.
FAMILIES: dict[Callable[[Draw], Pair], float] = {
    statement: 34,
    being: 12,
    timetable: 11,
    question: 12,
    reason: 9,
    condition: 6,
    report: 6,
    relative: 5,
    liking: 4,
    purpose: 4,
}


def sentence(draw: Draw) -> Pair:
    """Draw one English-German pair from a family drawn by FAMILIES."""
    return draw.choices(list(FAMILIES), weights=list(FAMILIES.values()))[0](draw)
