"""Random choices: words by Zipf's law, then noun phrases, subjects, times and whole clauses that make sense."""

from __future__ import annotations

from dataclasses import replace

from ..choices import Choices
from . import words as w
from .clauses import Clause, Complement, Time
from .numerals import DAYS, MONTHS, cardinal, clock, date
from .phrases import Fixed, Name, NounPhrase, Phrase, Pronoun

NAMES = (Name("Anna", "f"), Name("Paul", "m"), Name("Maria", "f"), Name("Thomas", "m"))
SPEAKERS = ("I", "he", "she", "we", "you", "they")
_OWN = {"I": "my", "you": "your", "he": "his", "she": "her", "we": "our"}
CITIES = ("Berlin", "Hamburg", "Vienna", "Munich", "Cologne")
_CITIES_DE = {"Vienna": "Wien", "Munich": "München", "Cologne": "Köln"}
_SURFACES = (("on", "auf"), ("under", "unter"), ("next to", "neben"))
_PARTS = (("in the morning", "am Morgen"), ("in the evening", "am Abend"), ("at night", "in der Nacht"))
_FREQUENCIES = (("often", "oft"), ("always", "immer"), ("never", "nie"), ("sometimes", "manchmal"))


class Draw(Choices):
    """A seeded source of words and phrases."""

    # --- noun phrases -----------------------------------------------------------------------------------------------

    def noun(self, word_class: str) -> w.Noun:
        """Draw a noun of a class (see words.CLASSES), of a group, or return the noun of that name."""
        if word_class in w.NOUNS and word_class not in w.GROUPS:
            return w.NOUNS[word_class]
        return self.zipf(w.GROUPS[self.zipf(w.CLASSES.get(word_class, word_class).split())])

    def adjective(self, noun: w.Noun, probability: float = 0.3) -> w.Adjective | None:
        names = w.ATTRIBUTES_OF[noun.en]
        return w.ADJECTIVES[self.zipf(names)] if names and self.chance(probability) else None

    def predicate(self, phrase: NounPhrase) -> str:
        """Draw an adjective to be said of the phrase that does not repeat or contradict its own."""
        taken = phrase.adjective.en if phrase.adjective else ""
        contrary = w.OPPOSITES.get(taken, ()) + tuple(key for key, values in w.OPPOSITES.items() if taken in values)
        names = w.PREDICATES[phrase.noun.group]
        return self.zipf([name for name in names if name != taken and name not in contrary])

    def noun_phrase(self, word_class: str, owner: Phrase | None = None, definite: bool = False) -> NounPhrase:
        """Draw a noun phrase; its possessive, if it has one, prefers the `owner` in the subject."""
        noun = self.noun(word_class)
        own = _OWN.get(owner.key) if isinstance(owner, Pronoun) else None
        possessive = own if own and self.chance(0.7) else self.zipf(tuple(_OWN.values()))
        if noun.group == "kin":
            return NounPhrase(noun, possessive, self.adjective(noun, 0.25), self.chance(0.1) and _several(noun))
        if not noun.en_plural:
            return NounPhrase(noun, "the" if definite or self.chance(0.4) else "", self.adjective(noun, 0.4))
        adjective = self.adjective(noun)
        if noun.group in ("room", "town", "public", "station", "opening", "furniture"):
            definite = True
        kind = self.of(the=45, own=10, this=7) if definite else self.of(the=40, a=32, own=10, this=6, bare=5, count=7)
        if kind == "count" and noun.group not in ("food", "print", "letter", "small", "clothes", "person"):
            kind = "a"
        if kind == "count":
            return NounPhrase(noun, self.randrange(2, 7), adjective, plural=True)
        if kind == "bare":
            return NounPhrase(noun, "", adjective, plural=True)
        fixed_number = kind == "a" or noun.group in ("town", "station", "public", "furniture")
        plural = not fixed_number and self.chance(0.2)
        if kind == "own" and noun.group in ("person", "town", "public", "station", "transport", "event"):
            kind = "the"
        return NounPhrase(noun, {"own": possessive}.get(kind, kind), adjective, plural)

    def definite(self, word_class: str, adjective: float = 0.3) -> NounPhrase:
        """Draw 'the' + singular."""
        noun = self.noun(word_class)
        return NounPhrase(noun, "the", self.adjective(noun, adjective))

    def human(self) -> Phrase:
        """Draw a person or several, as a subject."""
        kind = self.of(pronoun=46, person=30, kin=16, name=8)
        if kind == "pronoun":
            return Pronoun(self.zipf(SPEAKERS))
        if kind == "name":
            return self.zipf(NAMES)
        if kind == "kin":
            return self.noun_phrase("kin")
        noun = self.noun("person")
        return NounPhrase(noun, "this" if self.chance(0.1) else "the", self.adjective(noun, 0.25), self.chance(0.25))

    # --- adverbials -------------------------------------------------------------------------------------------------

    def time(self, tense: str) -> Time:
        """Draw a time: a day, a date, a part of the day, a stretch of time ago; fit for the tense."""
        kind = self.of(
            near=34, day=20, date=9, month=6, part=12 if tense != "future" else 4, clock=8, ago=14 * (tense == "past")
        )
        if kind == "near":
            return Time("every day", "jeden Tag") if tense == "present" and self.chance(0.4) else self.near(tense)
        if kind == "day":
            en, de = self.zipf(DAYS)
            return Time(f"on {en}", f"am {de}")
        if kind == "date":
            en, de = date(self.randrange(1, 29), self.zipf(MONTHS))
            return Time(f"on {en}", f"am {de}")
        if kind == "month":
            en, de = self.zipf((*MONTHS[:4], ("winter", "Winter"), ("summer", "Sommer")))
            return Time(f"in {en}", f"im {de}")
        if kind == "part":
            return Time(*self.zipf(_PARTS))
        if kind == "clock":
            return self.clock()
        (en, de), units = cardinal(self.randrange(2, 8)), (("days", "Tagen"), ("years", "Jahren"), ("weeks", "Wochen"))
        units_en, units_de = self.zipf(units)
        return Time(f"{en} {units_en} ago", f"vor {de} {units_de}")

    def near(self, tense: str) -> Time:
        """Draw a plain time adverb: yesterday, today, tomorrow."""
        near = {"past": (("yesterday", "gestern"), ("last week", "letzte Woche"), ("last year", "letztes Jahr")),
                "present": (("today", "heute"), ("now", "jetzt")),
                "future": (("tomorrow", "morgen"), ("next week", "nächste Woche"))}  # fmt: skip
        return Time(*self.zipf(near[tense]))

    def frequency(self) -> Time:
        """Draw an adverb of how often, said before the verb in English."""
        return Time(*self.zipf(_FREQUENCIES), frequency=True)

    def clock(self) -> Time:
        """Draw a time of day, sometimes with the day."""
        hour = self.randrange(1, 13)
        minute = self.choices((0, 30, 15, 45, 10, 20, 40, 50), weights=(5, 6, 3, 3, 1, 1, 1, 1))[0]
        en, de = clock(hour, minute)
        if self.chance(0.25):
            day_en, day_de = self.zipf(DAYS)
            return Time(f"on {day_en} at {en}", f"am {day_de} um {de}")
        return Time(f"at {en}", f"um {de}")

    def place(self) -> Complement:
        """Draw where something happens."""
        if self.chance(0.12):
            return Complement(Fixed("at home", "zu Hause"), "nom", place=True)
        if self.chance(0.1):
            return Complement(NounPhrase(w.NOUNS["station"]), "dat", "at", "an", place=True)
        return Complement(self.definite(self.zipf(("room", "town", "public")), 0.2), "dat", "in", "in", place=True)

    def goal(self) -> Complement:
        """Draw where someone goes: 'into' is in + accusative, 'to' is zu + dative, 'home' is nach Hause."""
        kind = self.of(into=40, public=30, human=18, home=12)
        if kind == "home":
            return Complement(Fixed("home", "nach Hause"), "nom")
        if kind == "into":
            return Complement(self.definite(self.zipf(("town", "room")), 0.2), "acc", "into", "in")
        if kind == "human":
            phrase = NounPhrase(w.NOUNS["doctor"]) if self.chance(0.4) else self.noun_phrase("kin")
            return Complement(phrase, "dat", "to", "zu")
        return Complement(self.definite(self.zipf(("public", "station")), 0.2), "dat", "to", "zu")

    def city(self) -> Fixed:
        name = self.zipf(CITIES)
        return Fixed(name, _CITIES_DE.get(name, name))

    def where(self, case: str, upright: bool = False) -> Complement:
        """Draw a place in a room or by furniture: dative where something lies, accusative where it is put."""
        if self.chance(0.5 if upright else 0.15):
            noun = self.zipf([noun for noun in w.GROUPS["room"] if upright or noun.en != "garden"])
            return Complement(NounPhrase(noun, "the", self.adjective(noun, 0.2)), case, "in", "in")
        en, de = ("next to", "neben") if upright else self.zipf(_SURFACES)
        return Complement(self.definite("furniture", 0.3), case, en, de)

    # --- clauses ----------------------------------------------------------------------------------------------------

    def complements(self, verb: w.Verb, subject: Phrase, pronouns: bool = True) -> tuple[Complement, ...]:
        """Draw the complements that a verb's pattern asks for, e.g. 'dat:human acc:gift' or 'for>auf+acc:awaited'."""
        complements = []
        patterns = verb.complements.split()
        for pattern in patterns:
            english, _, governed = pattern.rpartition(">")
            government, _, word_class = governed.partition(":")
            preposition, _, case = government.rpartition("+")
            people = word_class in ("human", "awaited")
            if pronouns and people and self.chance(0.3):
                phrase = Pronoun(self.zipf([key for key in SPEAKERS if not _same(subject, key)]))
            else:
                phrase = self.noun_phrase(word_class, subject, definite=word_class == "human")
                while isinstance(subject, NounPhrase) and phrase.noun == subject.noun:  # a doctor helps another person
                    phrase = self.noun_phrase(word_class, subject, definite=word_class == "human")
            complements.append(Complement(phrase, case, english, preposition))
        return tuple(complements)

    def action(
        self, subject: Phrase | None = None, tense: str = "present", pronouns: bool = True, lasting: bool = False
    ) -> Clause:
        """Draw a clause: somebody does or puts something, goes or stays somewhere; if `lasting`, also has or knows."""
        subject = subject or self.human()
        lasting = lasting and tense != "future"  # one does not say 'will know' of a person
        kind = self.of(action=64, motion=9, drive=3, stay=7, put=7, have=6 * lasting, know=4 * lasting)
        if kind == "motion":
            return Clause(subject, self.zipf(w.MOTIONS), (self.goal(),), tense=tense)
        if kind == "drive":
            return Clause(subject, w.DRIVE, (Complement(self.city(), "nom", "to", "nach"),), tense=tense)
        if kind == "stay":
            return Clause(subject, *self.stay(), tense=tense)
        if kind == "put":
            upright = self.chance(0.35)
            thing = self.noun_phrase("upright" if upright else "lying", subject)
            verb, complements = (w.STAND_UP if upright else w.LAY), (Complement(thing), self.where("acc", upright))
        elif kind == "have":
            noun = self.noun("owned")
            number = self.randrange(2, 5) if self.chance(0.2) else "a"
            phrase = NounPhrase(noun, number, self.adjective(noun), plural=number != "a")
            verb, complements = w.HAVE, (Complement(phrase),)
        else:
            verb = w.KNOW if kind == "know" else self.zipf(w.ACTIONS)
            complements = self.complements(verb, subject, pronouns)
        return Clause(subject, verb, complements, tense=past_if_same(verb, subject, tense))

    def stay(self) -> tuple[w.Verb, tuple[Complement, ...]]:
        """Draw a verb of staying with its place: one lives in a town, sleeps in a room, works anywhere."""
        verb = self.zipf(w.STAYS)
        if verb.en == "live" and self.chance(0.3):
            return verb, (Complement(self.city(), "dat", "in", "in"),)
        if verb.en in ("live", "sleep"):
            noun = w.NOUNS[self.zipf(("village", "city", "house") if verb.en == "live" else ("room", "hotel", "house"))]
            return verb, (Complement(NounPhrase(noun, "the", self.adjective(noun, 0.25)), "dat", "in", "in"),)
        return verb, (replace(self.place(), place=False),)


def past_if_same(verb: w.Verb, subject: Phrase, tense: str) -> str:
    """Return the tense, but past for a present that English writes like it: 'we put' and 'we read' count as past."""
    return "past" if tense == "present" and verb.en == verb.past and subject.person != "3s" else tense


def _several(noun: w.Noun) -> bool:
    return noun.en not in ("mother", "father")


def _same(subject: Phrase, key: str) -> bool:
    """Return whether the object would be the subject again (reflexive) or include it."""
    if not isinstance(subject, Pronoun):
        return False
    first = ("I", "we")
    return subject.key == key or (subject.key in first and key in first)
