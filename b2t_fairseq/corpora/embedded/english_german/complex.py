"""Sentences with a subordinate clause, which puts the German verb last. Families as in simple.py."""

from __future__ import annotations

from dataclasses import replace

from . import words as w
from .clauses import Clause, Complement, english, german
from .draw import Draw
from .phrases import Fixed, NounPhrase, Phrase, Pronoun, it_for, relative_pronoun
from .simple import HUMAN_GROUPS, Pair, draw_tense, finished, is_adjective, location, say, scheduled, state

_IT = Pronoun("n")


def weather(draw: Draw, tense: str) -> Clause:
    """Draw a clause about the weather: it snows, it is cold."""
    kind = draw.of(rain=5, snow=3, cold=3, warm=3)
    if kind in ("rain", "snow"):
        return Clause(_IT, w.RAIN if kind == "rain" else w.SNOW, tense=tense)
    return is_adjective(_IT, kind, tense)


def reason(draw: Draw) -> Pair:
    """Draw a sentence with because or although: in German the verb is last and 'it' has the gender of its noun."""
    tense = draw.of(present=45, past=55)
    main = draw.action(tense=tense)
    tense = main.tense
    because = draw.chance(0.7)
    thing = next((c.phrase for c in main.complements if _thing(c.phrase) and not c.de_preposition), None)
    options: list[Clause] = [weather(draw, tense)] if draw.chance(0.25) else []
    if thing:
        options.append(is_adjective(it_for(thing), draw.predicate(thing), tense))
    who = it_for(main.subject)
    if who and not options or who and draw.chance(0.4):
        options = [state(draw, who, tense, main.verb if because else None)]
    if not options:
        options = [weather(draw, tense)]
    en, de = ("because", "weil") if because else ("although", "obwohl")
    if because and who and draw.chance(0.3):
        other = draw.action(who, pronouns=False)
        options = [replace(other, modal=draw.zipf((w.WANT, w.MODALS[2])), tense=tense)]
    cause = options[0]
    if not because and draw.chance(0.3):
        return _subordinate_first(cause, main, en, de)
    main_en, main_de = say(main)
    return finished(f"{main_en} {en} {english(cause)}", f"{main_de}, {de} {german(cause, 'final')}")


def _thing(phrase: Phrase | None) -> bool:
    """Draw something that 'it' or 'they' can take up, and that is not a person."""
    return isinstance(phrase, NounPhrase) and phrase.noun.group not in HUMAN_GROUPS


def _subordinate_first(subordinate: Clause, main: Clause, en: str, de: str) -> Pair:
    """Put the subordinate clause first: it holds the first position, so the German main clause begins with its verb."""
    return finished(
        f"{en} {english(subordinate)}, {english(main)}",
        f"{de} {german(subordinate, 'final')}, {german(main, 'question')}",
    )


def condition(draw: Draw) -> Pair:
    """Draw a sentence with if or when, mostly in front: wenn in the present, als in the past."""
    past = draw.chance(0.35)
    if past:
        first = scheduled(draw, "past") if draw.chance(0.6) else weather(draw, "past")
        return _subordinate_first(first, draw.action(tense="past"), "when", "als")
    kind = draw.of(weather=30, scheduled=35, state=35)
    if kind == "weather":
        first = replace(weather(draw, "present"), time=draw.near("future") if draw.chance(0.5) else None)
    elif kind == "scheduled":
        first = replace(scheduled(draw, "present"), time=draw.near("future") if draw.chance(0.3) else None)
    else:
        first = state(draw, draw.human(), "present")
    main = draw.action(tense="future")
    if draw.chance(0.5):
        main = replace(main, tense="present", modal=draw.zipf(w.MODALS))
    en = "if" if kind != "scheduled" or first.time else "when"
    if draw.chance(0.35):
        (main_en, main_de), (first_en, first_de) = say(main), (english(first), german(first, "final"))
        return finished(f"{main_en} {en} {first_en}", f"{main_de}, wenn {first_de}")
    return _subordinate_first(first, main, en, "wenn")


def report(draw: Draw) -> Pair:
    """Draw a sentence of saying, thinking, hoping, knowing that, or of not knowing when, where, whether."""
    subject = draw.human()
    if draw.chance(0.35):
        return _indirect_question(draw, subject)
    verb = draw.zipf((w.KNOW_FACT, w.SAY, w.THINK, w.HOPE))
    tense = "past" if verb is w.SAY and draw.chance(0.6) else "present"
    kind = draw.of(action=50, scheduled=30, state=20)
    if kind == "action":
        clause = draw.action(tense=draw_tense(draw), lasting=True)
    elif kind == "scheduled":
        clause = replace(scheduled(draw, draw_tense(draw)), time=draw.clock() if draw.chance(0.6) else None)
    else:
        clause = state(draw, draw.human(), draw.of(present=70, past=30))
    matrix_en, matrix_de = say(Clause(subject, verb, tense=tense))
    return finished(f"{matrix_en} that {english(clause)}", f"{matrix_de}, dass {german(clause, 'final')}")


def _indirect_question(draw: Draw, subject: Phrase) -> Pair:
    kind = draw.of(when=40, where=30, whether=30)
    tense = draw.of(present=65, past=35)
    if kind == "when":
        en, de, asked = "when", "wann", scheduled(draw, tense)
    elif kind == "where":
        en, de, asked = "where", "wo", replace(location(draw, tense), complements=())
        if draw.chance(0.4):
            asked = Clause(draw.human(), w.STAYS[draw.randrange(2)], tense=tense)
    else:
        en, de, asked = "whether", "ob", draw.action(tense=tense, lasting=True)
    matrix = Clause(subject, w.KNOW_FACT, negated=True)
    mood, mark = "main", "."
    if draw.chance(0.3):
        matrix, mood, mark = Clause(Pronoun("you"), w.KNOW_FACT), "question", "?"
    matrix_en, matrix_de = say(matrix, mood)
    return finished(f"{matrix_en} {en} {english(asked)}", f"{matrix_de}, {de} {german(asked, 'final')}", mark)


def relative(draw: Draw) -> Pair:
    """Draw a sentence whose noun has a relative clause, as subject or as object."""
    people = draw.chance(0.5)
    head = draw.definite("person" if people else "goods", 0.15)
    if not people and draw.chance(0.15) or people and draw.chance(0.2):
        head = replace(head, plural=True)
    head = replace(head, relative=_relative_clause(draw, head, people))
    if draw.chance(0.45):
        verb = w.KNOW if people else draw.zipf([v for v in w.ACTIONS if v.en in ("buy", "see", "look")])
        subject = draw.human()
        english_preposition = "for" if verb.en == "look" else ""
        return finished(*say(Clause(subject, verb, (Complement(head, "acc", english_preposition),))))
    if people and draw.chance(0.6):
        return finished(*say(draw.action(head, draw.of(present=60, past=40), pronouns=False)))
    return finished(*say(state(draw, head, draw.of(present=70, past=30))))


def _relative_clause(draw: Draw, head: NounPhrase, people: bool) -> Pair:
    pronoun = "who" if people else "that"
    if people and draw.chance(0.6):  # the head is the subject: der im Dorf wohnt
        verb, complements = draw.stay()
        subject = Fixed(pronoun, relative_pronoun("nom", head.gender), person=head.person)
        if draw.chance(0.5):
            clause = replace(draw.action(subject, draw.of(present=50, past=50), pronouns=False), time=None)
        else:
            clause = Clause(subject, verb, complements)
        return english(clause), german(clause, "final")
    wanted = ("call", "help", "meet", "invite", "visit", "see") if people else ("buy", "look", "see")
    verb = draw.zipf([v for v in w.ACTIONS if v.en in wanted])
    case = "dat" if verb.complements.startswith("dat") else "acc"
    tense = draw.of(past=80, present=20)
    gap = Complement(None, case, "for" if verb.en == "look" else "")
    time = draw.near("past") if tense == "past" and draw.chance(0.6) else None
    clause = Clause(draw.human(), verb, (gap,), time, tense)
    de = f"{relative_pronoun(case, head.gender)} {german(clause, 'final')}"
    return f"that {english(clause)}", de


def purpose(draw: Draw) -> Pair:
    """Draw a sentence of going somewhere in order to do something: um ... zu, with zu inside a separable verb."""
    tense = draw_tense(draw)
    subject = draw.human()
    drive = draw.chance(0.3)
    goal = Complement(NounPhrase(w.NOUNS[draw.zipf(("city", "village"))]), "acc", "into", "in")
    if drive:
        goal = Complement(draw.city(), "nom", "to", "nach")
    main = Clause(subject, w.DRIVE if drive else w.MOTIONS[0], (goal,), tense=tense)
    verb = draw.zipf([v for v in w.ACTIONS if v.en in ("buy", "visit", "meet", "help", "pick", "look", "talk", "call")])
    aim = Clause(subject, verb, draw.complements(verb, subject, pronouns=False))
    if draw.chance(0.3):
        main = replace(main, time=draw.near(tense))
        main_en, main_de = say(main, "fronted")
    else:
        main_en, main_de = say(main)
    return finished(f"{main_en} {english(aim, 'to')}", f"{main_de}, um {german(aim, 'zu')}")
