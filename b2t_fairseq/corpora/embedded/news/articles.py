"""A text around its news: a date, a source, and other facts in subordinate clauses or sentences of their own."""

from __future__ import annotations

import re

from .draw import Draw
from .events import ASKED, PLANNED, deed, fact


def article(draw: Draw) -> tuple[str, str]:
    """Draw one text with its headline; both in lower case, marks between spaces."""
    news = fact(draw)
    clause, day = news.clause, draw.day()
    dated = "{day}" in clause or not news.past
    clause = clause.replace("{day}", day).replace("{future}", draw.future())
    if not dated and draw.chance(0.75):
        dated = True
        clause = f"{clause} {day}" if draw.chance(0.7) else f"{day} , {clause}"
    kind = draw.of(none=35, front=20, end=25, before=10, following=10)
    if kind == "front":
        clause = f"{subordinate(draw)} , {clause}"
    if kind == "end":
        clause = f"{clause} , {subordinate(draw)}"
    if " said" not in clause and draw.chance(0.5):
        clause = attributed(draw, clause, kind == "end")
    text = f"{clause} ."
    if kind == "before":
        text = f"{background(draw)} . {text}"
    if kind == "following":
        text = f"{text} {remark(draw)} ."
    return finished(text), news.headline


def attributed(draw: Draw, clause: str, long: bool) -> str:
    """Add who reports the news."""
    source, kind = draw.source(), draw.of(end=45, that=35, according=20)
    plain = source.rstrip(" ,")
    if kind == "that" or long:
        return f"{source} {draw.zipf(('said', 'reported', 'confirmed'))} that {clause}"
    if kind == "end":
        return f"{clause} , {source} said"
    return f"{clause} , according to {plain}"


def subordinate(draw: Draw) -> str:
    """Draw a clause that tells something else than the news."""
    other = deed(draw, ASKED)
    agent, when = other.agent.text, draw.zipf(("a day", "a week", "two weeks", "a month"))
    kind = draw.of(after=30, before=20, despite=25, while_=25)
    if kind == "after":
        return f"{draw.zipf(('after', f'{when} after'))} {agent} had {other.active('participle')}"
    if kind == "before":
        were = "were" if other.agent.plural else "was"
        return f"{when} before {agent} {were} to {other.active('base')}"
    if kind == "despite":
        return f"despite {draw.zipf(('a call', 'an appeal', 'demands'))} by {agent} to {other.active('base')}"
    return f"{draw.zipf(('while', 'although'))} {agent} {other.active('past')}"


def background(draw: Draw) -> str:
    """Draw a sentence before the news: the past perfect says that it is old."""
    other = deed(draw)
    if draw.chance(0.5):
        return f"{other.passive('had been')} {draw.past()}"
    return f"{other.agent.text} had {other.active('participle')} {draw.past()}"


def remark(draw: Draw) -> str:
    """Draw a sentence that follows the news."""
    kind = draw.of(past=40, will=30, passive=30)
    other = deed(draw, PLANNED if kind == "will" else "")
    if kind == "past":
        return f"{other.agent.text} {other.active('past')} {draw.past()}"
    if kind == "will":
        return f"{other.agent.text} will {other.active('base')} {draw.future()}"
    return f"{other.passive('were' if other.thing.plural else 'was')} {draw.past()}"


def finished(text: str) -> str:
    """Leave one mark where two meet."""
    return re.sub(r", (?=[,.])", "", text)
