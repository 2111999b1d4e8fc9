"""One clause in both languages: where English and German put their verbs, objects, adverbs and negation.

German moods: main (verb second), fronted (verb second after the time), question (verb first), final (verb last, in
subordinate clauses) and zu (infinitive). English moods: main, fronted, question and to.
"""

from __future__ import annotations

from dataclasses import dataclass

from .phrases import Phrase, with_preposition
from .words import BE, BECOME, HAVE, MUST_NOT, Modal, Verb

_PERSONS = {"1s": 0, "2s": 1, "3s": 2, "1p": 3, "3p": 3}
_ENGLISH_BE = {"present": ("am", "are", "is", "are"), "past": ("was", "were", "was", "were")}


@dataclass(frozen=True)
class Time:
    """A time adverbial (at half past two, um halb drei), or one of frequency, which English puts before the verb."""

    en: str
    de: str
    frequency: bool = False


@dataclass(frozen=True)
class Complement:
    """A phrase that the verb or the clause takes.

    Args:
        phrase: what is said; None is a gap, left where a relative or question word was moved away.
        case: its German case.
        en_preposition, de_preposition: '' for none; German ones contract with the article.
        place: a free adverbial of place, not governed by the verb.
    """

    phrase: Phrase | None
    case: str = "acc"
    en_preposition: str = ""
    de_preposition: str = ""
    place: bool = False

    def english(self) -> str:
        words = [self.en_preposition] if self.en_preposition else []
        return " ".join(words + ([self.phrase.english(self.case)] if self.phrase else []))

    def german(self, negated: bool = False) -> str:
        return with_preposition(self.de_preposition, self.phrase, self.case, negated) if self.phrase else ""


@dataclass(frozen=True)
class Clause:
    """What is said, before either language orders it. `tense` is present, past or future."""

    subject: Phrase
    verb: Verb
    complements: tuple[Complement, ...] = ()
    time: Time | None = None
    tense: str = "present"
    modal: Modal | None = None
    negated: bool = False


def _third(base: str) -> str:
    if base == "have":
        return "has"
    if base[-1] == "y" and base[-2] not in "aeou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("o", "s", "ch", "sh")) else "s")


def _english_verb(clause: Clause, asked: bool) -> tuple[str, str]:
    """Return the auxiliary ('' if there is none) and the rest of the verb group."""
    verb, modal, person, past = clause.verb, clause.modal, clause.subject.person, clause.tense == "past"
    if clause.tense == "future":
        return "will", verb.en
    if modal and modal.auxiliary:
        return (modal.past if past else modal.en), verb.en
    if verb.en == "be" and not modal:
        return _ENGLISH_BE["past" if past else "present"][_PERSONS[person]], ""
    base, past_form = (f"{modal.en} {verb.en}", f"{modal.past} {verb.en}") if modal else (verb.en, verb.past)
    if asked or clause.negated:
        return ("did" if past else "does" if person == "3s" else "do"), base
    if past:
        return "", past_form
    first, _, rest = base.partition(" ")
    return "", f"{_third(first)} {rest}".strip() if person == "3s" else base


def english(clause: Clause, mood: str = "main") -> str:
    """Return the clause in English, without capital and full stop."""
    subject = clause.subject.english("nom")
    complements = [complement.english() for complement in clause.complements]
    if clause.verb.particle:
        complements.insert(1, clause.verb.particle)
    time = clause.time.en if clause.time else ""
    before, after = (time, "") if clause.time and clause.time.frequency else ("", time)
    if mood == "to":
        return _join("to", before, clause.verb.en, *complements, after)
    auxiliary, rest = _english_verb(clause, asked=mood == "question")
    negation = "not" if clause.negated else ""
    if auxiliary == "can" and negation and mood != "question":
        auxiliary, negation = "cannot", ""
    words = (before, rest, *complements)
    if mood == "question":
        return _join(auxiliary, subject, negation, *words, after)
    if mood == "fronted":
        return _join(time, subject, auxiliary, negation, rest, *complements)
    return _join(subject, auxiliary, negation, *words, after)


def _preterite(stem: str, person: str) -> str:
    """Return a past form: ich war, du warst, wir waren; ich hatte, du hattest, wir hatten."""
    plural = "n" if stem.endswith("e") else "en"
    return stem + ("", "st", "", plural)[_PERSONS[person]]


def _german_verb(clause: Clause) -> tuple[str, list[str]]:
    """Return the finite verb and the end of a main clause (separable prefix, participle, infinitive)."""
    verb, modal, person = clause.verb, clause.modal, clause.subject.person
    column = _PERSONS[person]
    if clause.tense == "future":
        return BECOME.present[column], [verb.infinitive]
    if modal:
        if modal.en == "must" and clause.negated:
            modal = MUST_NOT
        finite = _preterite(modal.preterite, person) if clause.tense == "past" else modal.present[column]
        return finite, [verb.infinitive]
    if clause.tense == "past":
        if verb.preterite:
            return _preterite(verb.preterite, person), []
        return (BE if verb.auxiliary == "sein" else HAVE).present[column], [verb.participle]
    return verb.present[column], [verb.prefix] if verb.prefix else []


def _german_middle(clause: Clause, time: str) -> list[str]:
    """Return objects, adverbs and negation between the finite verb and the end of the clause.

    Order: pronouns (accusative first), time, dative, definite accusative, nicht, place, indefinite accusative, and last
    what belongs closest to the verb (prepositional objects, directions, predicates).
    """
    pronouns, datives, definite, places, indefinite, close = [], [], [], [], [], []
    kein = clause.negated and any(_takes_kein(complement) for complement in clause.complements)
    for complement in clause.complements:
        phrase, text = complement.phrase, complement.german(kein and _takes_kein(complement))
        if complement.de_preposition or complement.case == "nom" or phrase is None:
            (places if complement.place else close).append(text)
        elif phrase.pronoun:
            pronouns.insert(0 if complement.case == "acc" else len(pronouns), text)
        elif complement.case == "dat":
            datives.append(text)
        else:
            (indefinite if phrase.indefinite else definite).append(text)
    negation = ["nicht"] if clause.negated and not kein else []
    return [*pronouns, time, *datives, *definite, *negation, *places, *indefinite, *close]


def _takes_kein(complement: Complement) -> bool:
    """Return whether negation is said on this complement: keinen Apfel, keinen Hunger."""
    return complement.phrase is not None and complement.phrase.takes_kein and not complement.de_preposition


def german(clause: Clause, mood: str = "main") -> str:
    """Return the clause in German, without capital and full stop."""
    subject = clause.subject.german("nom")
    time = clause.time.de if clause.time else ""
    middle = _german_middle(clause, "" if mood == "fronted" else time)
    verb = clause.verb
    if mood == "zu":
        infinitive = f"{verb.prefix}zu{verb.de}" if verb.prefix else f"zu {verb.de}"
        return _join(*middle, infinitive)
    finite, end = _german_verb(clause)
    if mood == "main":
        return _join(subject, finite, *middle, *end)
    if mood == "fronted":
        return _join(time, finite, subject, *middle, *end)
    if mood == "question":
        return _join(finite, subject, *middle, *end)
    if end == [verb.prefix]:  # the prefix comes home at the end: ..., weil er ankommt
        finite, end = verb.prefix + finite, []
    return _join(subject, *middle, *end, finite)


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)
