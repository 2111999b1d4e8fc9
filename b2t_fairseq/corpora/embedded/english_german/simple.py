"""Sentences of one clause. Each family takes a Draw and returns one English-German pair of whole sentences."""

from __future__ import annotations

import re
from dataclasses import replace

from . import words as w
from .clauses import Clause, Complement, Time, english, german
from .draw import Draw, past_if_same
from .numerals import DAYS, MONTHS, cardinal, date
from .phrases import Fixed, NounPhrase, Phrase, Pronoun, with_preposition

Pair = tuple[str, str]

HUMAN_GROUPS = ("person", "kin")
_STATES = (  # of people: English predicate, German verb, German predicate, German predicate under negation
    ("tired", w.BE, "müde", ""),
    ("hungry", w.BE_HAVING, "Hunger", "keinen Hunger"),
    ("ill", w.BE, "krank", ""),
    ("thirsty", w.BE_HAVING, "Durst", "keinen Durst"),
    ("happy", w.BE, "glücklich", ""),
    ("at home", w.BE, "zu Hause", ""),
    ("afraid", w.BE_HAVING, "Angst", "keine Angst"),
)
_REASONS = {  # states that make one do it; whoever does anything else is happy, or has time or money
    "eat": ("hungry",),
    "drink": ("thirsty",),
    "go": ("tired", "hungry", "ill", "thirsty"),
    "sleep": ("tired", "ill"),
    "stay": ("tired", "ill", "afraid", "happy"),
    "call": ("ill", "afraid", "happy"),
    "close": ("afraid", "tired"),
    "look": ("hungry", "thirsty", "afraid"),
    "invite": ("happy", "at home"),
    "help": ("happy", "at home"),
}
_FOUND = {"upright": "room", "animal": "town", "furniture": "room", "person": "public"}  # what there is where
_FILLERS = {"time": Fixed("time", "Zeit", "keine Zeit"), "money": Fixed("money", "Geld", "kein Geld")}


def finished(en: str, de: str, mark: str = ".") -> Pair:
    """Add capital, mark, and a comma only where something follows the relative or subordinate clause."""

    def finish(text: str) -> str:
        text = re.sub(r",(?=[,.?])", "", text + mark)
        return text[0].upper() + text[1:]

    return finish(en), finish(de)


def say(clause: Clause, mood: str = "main") -> Pair:
    """Return a clause in both languages."""
    return english(clause, mood), german(clause, mood)


def draw_tense(draw: Draw) -> str:
    """Draw a tense."""
    return draw.of(present=40, past=42, future=18)


def _plain(clause: Clause) -> bool:
    """Return whether nicht or kein has a place (not beside 'three apples')."""
    return not any(
        isinstance(c.phrase, NounPhrase) and isinstance(c.phrase.determiner, int) for c in clause.complements
    )


def state(draw: Draw, subject: Phrase, tense: str, after: w.Verb | None = None) -> Clause:
    """Draw how somebody or something is: tired, expensive, without time; `after`: what it is a reason for."""
    if isinstance(subject, NounPhrase) and subject.noun.group not in HUMAN_GROUPS:
        return is_adjective(subject, draw.predicate(subject), tense)
    fitting = _REASONS.get(after.en, ("happy",)) if after else [one[0] for one in _STATES]
    if draw.chance(0.5 if after and len(fitting) == 1 else 0.2):
        filler = _FILLERS["time" if draw.chance(0.6) else "money"]
        return Clause(subject, w.HAVE, (Complement(filler),), tense=tense, negated=draw.chance(0.7))
    en, verb, de, negated = draw.zipf([one for one in _STATES if one[0] in fitting])
    return Clause(subject, verb, (Complement(Fixed(en, de, negated), "acc" if negated else "nom"),), tense=tense)


def is_adjective(subject: Phrase, adjective: str, tense: str) -> Clause:
    """Return the clause "SUBJECT is ADJECTIVE"."""
    return Clause(subject, w.BE, (Complement(Fixed(adjective, w.ADJECTIVES[adjective].de), "nom"),), tense=tense)


def _modal(draw: Draw, clause: Clause) -> Clause:
    """Put the clause under a modal verb, perhaps negated."""
    tense = "past" if draw.chance(0.3) else "present"
    modal = draw.zipf(w.MODALS if tense == "present" else w.MODALS[:3])
    negated = _plain(clause) and draw.chance(0.2) and (modal.en != "must" or tense == "present")
    return replace(clause, modal=modal, tense=tense, negated=negated)


def statement(draw: Draw) -> Pair:
    """Draw a main clause: any tense, time in front or inside, a place, a modal verb, negation."""
    tense = draw_tense(draw)
    clause = draw.action(tense=tense, lasting=True)
    if clause.verb not in (w.HAVE, w.KNOW) and draw.chance(0.28):
        clause = _modal(draw, clause)
    elif _plain(clause) and draw.chance(0.15):
        clause = replace(clause, negated=True)
    if clause.verb in w.PLACED and not clause.negated and draw.chance(0.2):
        clause = replace(clause, complements=(*clause.complements, draw.place()))
    if clause.verb in (w.HAVE, w.KNOW):
        return finished(*say(clause))
    if clause.tense == "present" and not clause.negated and not clause.modal and draw.chance(0.2):
        return finished(*say(replace(clause, time=draw.frequency())))
    if draw.chance(0.55):
        when = "present" if clause.modal and clause.tense == "present" else clause.tense
        clause = replace(clause, time=draw.time(when))
        if not clause.negated and draw.chance(0.55):
            return finished(*say(clause, "fronted"))
        if clause.negated:  # nicht beside a clock time or a date would deny that time
            clause = replace(clause, time=draw.near(when))
    return finished(*say(clause))


def liking(draw: Draw) -> Pair:
    """Draw liking, which German turns round: My sister likes the coat. Meiner Schwester gefällt der Mantel."""
    who = draw.human()
    thing = replace(draw.noun_phrase("liked", definite=True), relative=None)
    past, negated = draw.chance(0.25), draw.chance(0.2)
    tense = "past" if past else "present"
    en = english(Clause(who, w.LIKE, (Complement(thing),), tense=tense, negated=negated))
    clause = Clause(thing, w.LIKE, (), tense=tense, negated=negated)
    de = german(replace(clause, time=Time("", who.german("dat"))), "fronted")
    return finished(en, de)


def being(draw: Draw) -> Pair:
    """Draw a sentence of what something is like or costs, whose or where it is, how old somebody is, what there is."""
    kind = draw.of(adjective=30, cost=14, age=14, belong=14, lie=20, there=12, date=4)
    tense = "past" if draw.chance(0.3) else "present"
    if kind == "adjective":
        people = draw.chance(0.4)
        subject = draw.human() if people else draw.noun_phrase("liked", definite=True)
        clause = state(draw, subject, tense)
        if not clause.negated and draw.chance(0.25):
            clause = replace(clause, negated=True)
        return finished(*say(clause))
    if kind == "cost":
        subject = draw.noun_phrase("goods", definite=True)
        en, de = cardinal(draw.randrange(2, 100))
        price, tense = Complement(Fixed(f"{en} euros", f"{de} Euro")), past_if_same(w.COST, subject, tense)
        return finished(*say(Clause(subject, w.COST, (price,), tense=tense)))
    if kind == "age":
        subject = draw.human()
        en, de = cardinal(draw.randrange(2, 90))
        age = Complement(Fixed(f"{en} years old", f"{de} Jahre alt"), "nom")
        return finished(*say(Clause(subject, w.BE, (age,), tense="present")))
    if kind == "belong":
        thing = replace(draw.noun_phrase("owned", definite=True), determiner="the" if draw.chance(0.7) else "this")
        return finished(*say(Clause(thing, w.BELONG, draw.complements(w.BELONG, thing), tense=tense)))
    if kind == "lie":
        clause = location(draw, tense)
        return finished(*say(clause, "main"))
    if kind == "date":
        (day_en, day_de), month, day = draw.zipf(DAYS), draw.zipf(MONTHS), draw.randrange(1, 29)
        (en, de), (_, nominative) = date(day, month), date(day, month, "nom")
        if draw.chance(0.5):
            return finished(f"today is {day_en} {en}", f"heute ist {day_de}, der {nominative}")
        return finished(f"tomorrow is {day_en} {en}", f"morgen ist {day_de}, der {nominative}")
    return _thereis_adjective(draw, tense)


def location(draw: Draw, tense: str) -> Clause:
    """Draw a clause of where something is: liegen or stehen, as the thing has it."""
    upright = draw.chance(0.4)
    thing = draw.noun_phrase("upright" if upright else "lying", definite=True)
    place = draw.where("dat", upright)
    return Clause(thing, w.STAND if upright else w.LIE, (place,), tense="present" if tense == "future" else tense)


def _thereis_adjective(draw: Draw, tense: str) -> Pair:
    """Draw a sentence of what there is: There are three chairs in the kitchen. In der Küche gibt es drei Stühle."""
    group = draw.zipf(tuple(_FOUND))
    noun = draw.noun(group)
    plural = draw.chance(0.6)
    thing = NounPhrase(noun, draw.randrange(2, 7) if plural else "a", draw.adjective(noun), plural)
    place = Complement(draw.definite(_FOUND[group], 0.2), "dat", "in", "in")
    be = {"3sFalse": "is", "3pFalse": "are", "3sTrue": "was", "3pTrue": "were"}[f"{thing.person}{tense == 'past'}"]
    finite = "gab" if tense == "past" else "gibt"
    return finished(
        f"there {be} {thing.english()} {place.english()}", f"{place.german()} {finite} es {thing.german('acc')}"
    )


def timetable(draw: Draw) -> Pair:
    """Draw a sentence of arriving, leaving, beginning, opening, getting up: separable verbs and clock times."""
    clause = scheduled(draw, draw_tense(draw))
    if _human(clause) and draw.chance(0.4):
        clause = replace(clause, modal=draw.zipf(w.MODALS[1:]), tense="present")
    clause = replace(clause, time=draw.clock() if draw.chance(0.75) else draw.time(clause.tense))
    return finished(*say(clause, "fronted" if draw.chance(0.4) else "main"))


def _human(clause: Clause) -> bool:
    subject = clause.subject
    return not isinstance(subject, NounPhrase) or subject.noun.group in HUMAN_GROUPS


def scheduled(draw: Draw, tense: str) -> Clause:
    """Draw a clause about what happens at a time: a train leaves, somebody arrives, a shop opens."""
    kind = draw.of(transport=40, people=35, event=12, place=13)
    if kind == "people":
        verb = draw.zipf((w.COME_BACK, w.GET_UP, w.ARRIVE))
        return Clause(draw.human(), verb, tense=tense)
    if kind == "event":
        return Clause(draw.definite("event"), w.BEGIN, tense=tense)
    if kind == "place":
        return Clause(draw.definite("public", 0.2), draw.zipf((w.OPEN, w.CLOSE)), tense=tense)
    subject = replace(draw.definite("transport", 0.15), plural=draw.chance(0.1))
    if draw.chance(0.3):
        fixed = draw.city()
        return Clause(subject, w.LEAVE, (Complement(fixed, "nom", "for", "nach"),), tense=tense)
    return Clause(subject, draw.zipf((w.ARRIVE, w.LEAVE)), tense=tense)


def question(draw: Draw) -> Pair:
    """Draw a yes/no or wh-question: when, where, where to, what, whom."""
    kind = draw.of(yes_no=40, when=12, where=12, what=12, whom=12, who=8, why=4)
    tense = draw.of(present=50, past=38, future=12)
    if kind == "who":
        return finished(*say(draw.action(Fixed("who", "wer"), tense, pronouns=False)), "?")
    if kind == "yes_no":
        subject = draw.human()
        clause = draw.action(Pronoun("you") if subject == Pronoun("I") else subject, tense, lasting=True)
        tense = clause.tense
        if tense == "present" and clause.verb not in (w.HAVE, w.KNOW) and draw.chance(0.35):
            clause = replace(clause, modal=draw.zipf(w.MODALS[:2]))
        elif draw.chance(0.3) and clause.verb not in (w.HAVE, w.KNOW):
            clause = replace(clause, time=draw.near(tense))
        return finished(*say(clause, "question"), "?")
    if kind == "when":
        clause = scheduled(draw, tense) if draw.chance(0.7) else draw.action(tense=tense)
        return _asked(clause, "when", "wann")
    if kind == "why":
        return _asked(state(draw, draw.human(), "past" if tense == "past" else "present"), "why", "warum")
    subject = draw.human()
    if kind == "where":
        way = draw.of(go=4, stay=4, thing=4)
        if way == "thing":
            return _asked(replace(location(draw, tense), complements=()), "where", "wo")
        if way == "go":
            return _asked(Clause(subject, draw.zipf((*w.MOTIONS[:1], w.DRIVE)), tense=tense), "where", "wohin")
        return _asked(Clause(subject, w.STAYS[draw.randrange(3)], tense=tense), "where", "wo")
    verb = draw.zipf([v for v in w.ACTIONS if _asks(v, kind)])
    complements = list(draw.complements(verb, subject))
    moved = complements[-1] if kind == "what" else complements[0]
    complements[complements.index(moved)] = replace(moved, phrase=None)
    pronoun = Fixed("", "was" if kind == "what" else {"acc": "wen", "dat": "wem"}[moved.case])
    front = with_preposition(moved.de_preposition, pronoun, moved.case)
    clause = Clause(subject, verb, tuple(complements), tense=tense)
    return _asked(clause, "what" if kind == "what" else "who", front)


def _asks(verb: w.Verb, kind: str) -> bool:
    """Return whether one asks 'what' (a thing in the accusative) or 'whom' (a single human object) with this verb."""
    last = verb.complements.split()[-1]
    human = last.endswith(("human", "visited", "awaited", "playmate"))
    return (kind == "what" and not human and not last.endswith(("opening", "room"))) or (kind == "whom" and human)


def _asked(clause: Clause, en: str, de: str) -> Pair:
    return finished(f"{en} {english(clause, 'question')}", f"{de} {german(clause, 'question')}", "?")
