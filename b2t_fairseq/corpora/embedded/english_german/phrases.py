"""What fills a clause's slots: noun phrases, pronouns, names and fixed phrases, each said in both languages.

A phrase offers `person` (1s 2s 3s 1p 3p), `english(case)` and `german(case, negated)`, with case nom, acc or dat.
"""

from __future__ import annotations

from dataclasses import dataclass

from .numerals import cardinal
from .words import Adjective, Noun

_COLUMN = {"m": 0, "f": 1, "n": 2, "p": 3}  # p: plural of any gender
_DEFINITE = {"nom": "der die das die", "acc": "den die das die", "dat": "dem der dem den"}
_STRONG = {"nom": "er e es e", "acc": "en e es e", "dat": "em er em en"}  # also the endings of dieser
_MIXED = {"nom": "er e es en", "acc": "en e es en", "dat": "en en en en"}
_WEAK = {"nom": "e e e en", "acc": "en e e en", "dat": "en en en en"}
_EIN = {"nom": "- e - e", "acc": "en e - e", "dat": "em er em en"}  # ein, kein, mein
_POSSESSIVES = {"my": "mein", "your": "dein", "his": "sein", "her": "ihr", "our": "unser"}
_PRONOUNS = {
    "I": "1s I me ich mich mir",
    "you": "2s you you du dich dir",
    "he": "3s he him er ihn ihm",
    "she": "3s she her sie sie ihr",
    "we": "1p we us wir uns uns",
    "they": "3p they them sie sie ihnen",
    "m": "3s it it er ihn ihm",  # it, standing for a masculine, feminine or neuter noun
    "f": "3s it it sie sie ihr",
    "n": "3s it it es es ihm",
}
_CASES = ("nom", "acc", "dat")


def _pick(table: dict[str, str], case: str, gender: str) -> str:
    return table[case].split()[_COLUMN[gender]].strip("-")


def article(word: str, case: str, gender: str) -> str:
    """Return the German determiner for an English one (or for 'kein'): ('the', 'dat', 'f') -> 'der'."""
    if word == "the":
        return _pick(_DEFINITE, case, gender)
    if word == "this":
        return "dies" + _pick(_STRONG, case, gender)
    stem = _POSSESSIVES.get(word, "kein" if word == "kein" else "ein")
    return stem + _pick(_EIN, case, gender)


def relative_pronoun(case: str, gender: str) -> str:
    """Return der/die/das as a relative pronoun; only the dative plural differs from the article."""
    return "denen" if (case, gender) == ("dat", "p") else _pick(_DEFINITE, case, gender)


@dataclass(frozen=True)
class Fixed:
    """A phrase with one form per language ('at home', 'zu Hause'), perhaps another German one under negation."""

    en: str
    de: str
    de_negated: str = ""
    person: str = "3s"
    pronoun = False
    indefinite = False

    @property
    def takes_kein(self) -> bool:
        return bool(self.de_negated)

    def english(self, case: str = "nom") -> str:
        return self.en

    def german(self, case: str = "nom", negated: bool = False) -> str:
        return self.de_negated if negated and self.de_negated else self.de


@dataclass(frozen=True)
class Name:
    """A person's first name, the same in both languages and all cases."""

    name: str
    gender: str
    person: str = "3s"
    pronoun = False
    indefinite = False
    takes_kein = False

    def english(self, case: str = "nom") -> str:
        return self.name

    def german(self, case: str = "nom", negated: bool = False) -> str:
        return self.name


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun by its key: I you he she we they, or m f n for an 'it' that stands for such a noun."""

    key: str
    pronoun = True
    indefinite = False
    takes_kein = False

    @property
    def person(self) -> str:
        return _PRONOUNS[self.key].split()[0]

    def english(self, case: str = "nom") -> str:
        return _PRONOUNS[self.key].split()[1 if case == "nom" else 2]

    def german(self, case: str = "nom", negated: bool = False) -> str:
        return _PRONOUNS[self.key].split()[3 + _CASES.index(case)]


@dataclass(frozen=True)
class NounPhrase:
    """A noun with determiner, adjective and perhaps a relative clause.

    Args:
        noun: the noun.
        determiner: the, a, this, my your his her our; '' for a bare noun, a number word's value for a count.
        adjective: at most one.
        plural: plural or singular.
        relative: the relative clause in English and German, with the German pronoun but without its commas.
    """

    noun: Noun
    determiner: str | int = "the"
    adjective: Adjective | None = None
    plural: bool = False
    relative: tuple[str, str] | None = None
    pronoun = False

    @property
    def person(self) -> str:
        return "3p" if self.plural else "3s"

    @property
    def gender(self) -> str:
        """m, f or n, and p in the plural, where gender no longer shows."""
        return "p" if self.plural else self.noun.gender

    @property
    def indefinite(self) -> bool:
        """Whether a place goes before it: im Garten einen Hund sehen."""
        return self.takes_kein or isinstance(self.determiner, int)

    @property
    def takes_kein(self) -> bool:
        """Whether negation turns it into kein-."""
        return self.determiner in ("a", "")

    def english(self, case: str = "nom") -> str:
        words = [self.adjective.en] if self.adjective else []
        words.append(self.noun.en_plural if self.plural else self.noun.en)
        determiner = self.determiner
        if determiner == "a" and words[0][0] in "aeiou":
            determiner = "an"
        elif determiner == "this" and self.plural:
            determiner = "these"
        elif isinstance(determiner, int):
            determiner = cardinal(determiner)[0]
        text = " ".join([determiner, *words] if determiner else words)
        return f"{text} {self.relative[0]}" if self.relative else text

    def german(self, case: str = "nom", negated: bool = False) -> str:
        determiner = self.determiner
        if negated and determiner in ("a", ""):
            determiner = "kein"
        if isinstance(determiner, int):
            words, endings = [cardinal(determiner)[1]], _STRONG
        elif determiner == "":
            words, endings = [], _STRONG
        else:
            words = [article(determiner, case, self.gender)]
            endings = _WEAK if determiner in ("the", "this") else _MIXED
        if self.adjective:
            words.append(self.adjective.stem + _pick(endings, case, self.gender))
        words.append(self._german_noun(case))
        text = " ".join(words)
        return f"{text}, {self.relative[1]}," if self.relative else text

    def _german_noun(self, case: str) -> str:
        if not self.plural:
            return self.noun.de_plural if self.noun.weak and case != "nom" else self.noun.de
        plural = self.noun.de_plural
        return plural + "n" if case == "dat" and plural[-1] not in "ns" else plural


Phrase = Fixed | Name | Pronoun | NounPhrase

_CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "zu dem": "zum",
    "zu der": "zur",
}


def with_preposition(preposition: str, phrase: Phrase, case: str, negated: bool = False) -> str:
    """Return a German prepositional phrase, contracted where one contracts: zu + der Schule -> zur Schule.

    A relative clause keeps article and preposition apart (in dem Haus, das ...).
    """
    text = phrase.german(case, negated)
    if not preposition:
        return text
    if isinstance(phrase, NounPhrase) and phrase.determiner == "the" and not phrase.relative:
        head, _, tail = text.partition(" ")
        if contracted := _CONTRACTIONS.get(f"{preposition} {head}"):
            return f"{contracted} {tail}"
    return f"{preposition} {text}"


def it_for(phrase: Phrase) -> Pronoun | None:
    """Return the personal pronoun for a phrase, None where German speakers would waver (das Mädchen: es or sie)."""
    if isinstance(phrase, Pronoun):
        return phrase
    if isinstance(phrase, Name):
        return Pronoun("he" if phrase.gender == "m" else "she")
    if isinstance(phrase, Fixed):
        return None
    if phrase.plural:
        return Pronoun("they")
    if phrase.noun.group in ("person", "kin"):
        return {"m": Pronoun("he"), "f": Pronoun("she")}.get(phrase.noun.gender)
    return Pronoun(phrase.noun.gender)
