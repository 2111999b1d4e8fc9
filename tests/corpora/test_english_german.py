"""The embedded corpus: hand-checked German, invariants over all pairs, determinism, more than a lexicon needed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu

from b2t_fairseq.common.command_line import guarded
from b2t_fairseq.corpora.embedded import english_german
from b2t_fairseq.corpora.embedded.english_german import words as w
from b2t_fairseq.corpora.embedded.english_german.__main__ import main
from b2t_fairseq.corpora.embedded.english_german.clauses import Clause, Complement, Time, english, german
from b2t_fairseq.corpora.embedded.english_german.numerals import cardinal, clock, date
from b2t_fairseq.corpora.embedded.english_german.phrases import (
    Fixed,
    Name,
    NounPhrase,
    Pronoun,
    article,
    it_for,
    relative_pronoun,
    with_preposition,
)
from b2t_fairseq.experiments.baselines.lexicon import LexiconBaseline

ROOT = Path(__file__).resolve().parents[2]
VERBS = {verb.en: verb for verb in (*w.ACTIONS, *w.MOTIONS, *w.STAYS)}
CAN, WANT, MUST, SHOULD = w.MODALS
YESTERDAY, TODAY = Time("yesterday", "gestern"), Time("today", "heute")


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[tuple[str, str]]]:
    return english_german.generate()


def np(noun: str, determiner: str | int = "the", adjective: str = "", plural: bool = False) -> NounPhrase:
    return NounPhrase(w.NOUNS[noun], determiner, w.ADJECTIVES[adjective] if adjective else None, plural)


def acc(phrase) -> Complement:
    return Complement(phrase, "acc")


def dat(phrase) -> Complement:
    return Complement(phrase, "dat")


@pytest.mark.parametrize(
    ("phrase", "nominative", "accusative", "dative"),
    [
        (np("man"), "der Mann", "den Mann", "dem Mann"),
        (np("coat", "the", "red"), "der rote Mantel", "den roten Mantel", "dem roten Mantel"),
        (np("coat", "a", "red"), "ein roter Mantel", "einen roten Mantel", "einem roten Mantel"),
        (np("bag", "a", "expensive"), "eine teure Tasche", "eine teure Tasche", "einer teuren Tasche"),
        (np("house", "my", "old"), "mein altes Haus", "mein altes Haus", "meinem alten Haus"),
        (np("book", "this", "new"), "dieses neue Buch", "dieses neue Buch", "diesem neuen Buch"),
        (np("friend", "our", "good", True), "unsere guten Freunde", "unsere guten Freunde", "unseren guten Freunden"),
        (np("apple", "", "fresh", True), "frische Äpfel", "frische Äpfel", "frischen Äpfeln"),
        (np("coffee", "", "cold"), "kalter Kaffee", "kalten Kaffee", "kaltem Kaffee"),
        (np("milk", "", "cold"), "kalte Milch", "kalte Milch", "kalter Milch"),
        (np("child", 3, "tired", True), "drei müde Kinder", "drei müde Kinder", "drei müden Kindern"),
        (np("neighbour"), "der Nachbar", "den Nachbarn", "dem Nachbarn"),
        (np("boy", "a"), "ein Junge", "einen Jungen", "einem Jungen"),
        (np("car", "the", "", True), "die Autos", "die Autos", "den Autos"),
        (np("doctor", "her", "", True), "ihre Ärztinnen", "ihre Ärztinnen", "ihren Ärztinnen"),
        (Pronoun("he"), "er", "ihn", "ihm"),
        (Pronoun("they"), "sie", "sie", "ihnen"),
        (Name("Anna", "f"), "Anna", "Anna", "Anna"),
    ],
)
def test_declension(phrase, nominative: str, accusative: str, dative: str) -> None:
    assert [phrase.german(case) for case in ("nom", "acc", "dat")] == [nominative, accusative, dative]


GIVE = Clause(np("woman"), VERBS["give"], (dat(np("child")), acc(np("apple", "a"))))
CALL = Clause(np("teacher"), VERBS["call"], (acc(np("doctor")),))
PICK_UP = Clause(Pronoun("she"), VERBS["pick"], (acc(Pronoun("he")),))
ARRIVE = Clause(np("train"), w.ARRIVE, time=Time("at half past two", "um halb drei"))
GO = Clause(Pronoun("we"), VERBS["go"], (Complement(np("park"), "acc", "into", "in"),))
SEE = Clause(
    Pronoun("I"),
    VERBS["see"],
    (acc(np("dog", "a")), Complement(np("garden"), "dat", "in", "in", place=True)),
    YESTERDAY,
)
HUNGRY = Clause(Pronoun("I"), w.BE_HAVING, (acc(Fixed("hungry", "Hunger", "keinen Hunger")),))
PUT = Clause(Pronoun("she"), w.LAY, (acc(np("book")), Complement(np("table"), "acc", "on", "auf")))
LIE = Clause(np("book"), w.LIE, (Complement(np("table"), "dat", "on", "auf"),))
WAIT = Clause(Pronoun("you"), VERBS["wait"], (Complement(np("bus"), "acc", "for", "auf"),))


@pytest.mark.parametrize(
    ("clause", "moods", "en", "de"),
    [
        (GIVE, "main", "the woman gives the child an apple", "die Frau gibt dem Kind einen Apfel"),
        (
            replace(GIVE, negated=True),
            "main",
            "the woman does not give the child an apple",
            "die Frau gibt dem Kind keinen Apfel",
        ),
        (
            replace(GIVE, tense="past", time=YESTERDAY),
            "fronted",
            "yesterday the woman gave the child an apple",
            "gestern hat die Frau dem Kind einen Apfel gegeben",
        ),
        (CALL, "main", "the teacher calls the doctor", "der Lehrer ruft die Ärztin an"),
        (CALL, "main final", "the teacher calls the doctor", "der Lehrer die Ärztin anruft"),
        (
            replace(CALL, tense="past"),
            "question",
            "did the teacher call the doctor",
            "hat der Lehrer die Ärztin angerufen",
        ),
        (
            replace(CALL, modal=WANT),
            "main",
            "the teacher wants to call the doctor",
            "der Lehrer will die Ärztin anrufen",
        ),
        (CALL, "to zu", "to call the doctor", "die Ärztin anzurufen"),
        (
            replace(CALL, negated=True),
            "main",
            "the teacher does not call the doctor",
            "der Lehrer ruft die Ärztin nicht an",
        ),
        (PICK_UP, "main", "she picks him up", "sie holt ihn ab"),
        (replace(PICK_UP, modal=CAN, negated=True), "main", "she cannot pick him up", "sie kann ihn nicht abholen"),
        (replace(PICK_UP, modal=MUST, negated=True), "main", "she must not pick him up", "sie darf ihn nicht abholen"),
        (replace(PICK_UP, modal=MUST, tense="past"), "main", "she had to pick him up", "sie musste ihn abholen"),
        (replace(PICK_UP, modal=SHOULD), "question", "should she pick him up", "sollte sie ihn abholen"),
        (ARRIVE, "main", "the train arrives at half past two", "der Zug kommt um halb drei an"),
        (ARRIVE, "fronted", "at half past two the train arrives", "um halb drei kommt der Zug an"),
        (ARRIVE, "main final", "the train arrives at half past two", "der Zug um halb drei ankommt"),
        (
            replace(ARRIVE, tense="past"),
            "main final",
            "the train arrived at half past two",
            "der Zug um halb drei angekommen ist",
        ),
        (
            replace(ARRIVE, tense="future"),
            "main",
            "the train will arrive at half past two",
            "der Zug wird um halb drei ankommen",
        ),
        (replace(GO, tense="past"), "main", "we went into the park", "wir sind in den Park gegangen"),
        (replace(GO, negated=True), "main", "we do not go into the park", "wir gehen nicht in den Park"),
        (GO, "question", "do we go into the park", "gehen wir in den Park"),
        (
            replace(SEE, tense="past"),
            "main",
            "I saw a dog in the garden yesterday",
            "ich habe gestern im Garten einen Hund gesehen",
        ),
        (
            Clause(Pronoun("he"), VERBS["read"], (acc(np("book")),), Time("often", "oft", frequency=True)),
            "main",
            "he often reads the book",
            "er liest oft das Buch",
        ),
        (HUNGRY, "main", "I am hungry", "ich habe Hunger"),
        (replace(HUNGRY, negated=True), "main", "I am not hungry", "ich habe keinen Hunger"),
        (replace(HUNGRY, tense="past"), "question", "was I hungry", "hatte ich Hunger"),
        (PUT, "main", "she puts the book on the table", "sie legt das Buch auf den Tisch"),
        (LIE, "main", "the book is on the table", "das Buch liegt auf dem Tisch"),
        (replace(LIE, tense="past"), "main", "the book was on the table", "das Buch lag auf dem Tisch"),
        (WAIT, "question", "do you wait for the bus", "wartest du auf den Bus"),
        (
            Clause(Pronoun("I"), VERBS["show"], (dat(Pronoun("she")), acc(Pronoun("n")))),
            "main",
            "I show her it",
            "ich zeige es ihr",
        ),
        (
            Clause(np("brother", "my"), VERBS["help"], (dat(np("neighbour")),), TODAY, negated=True),
            "main",
            "my brother does not help the neighbour today",
            "mein Bruder hilft heute dem Nachbarn nicht",
        ),
        (
            Clause(Pronoun("they"), w.KNOW, (acc(np("boy")),), tense="past"),
            "main",
            "they knew the boy",
            "sie kannten den Jungen",
        ),
        (Clause(Pronoun("you"), w.KNOW_FACT), "question", "do you know", "weißt du"),
        (
            Clause(Pronoun("you"), VERBS["invite"], (acc(np("aunt", "your")),)),
            "main",
            "you invite your aunt",
            "du lädst deine Tante ein",
        ),
        (
            Clause(
                np("child", "the", "", True), VERBS["talk"], (Complement(np("man", "the", "old"), "dat", "to", "mit"),)
            ),
            "main",
            "the children talk to the old man",
            "die Kinder sprechen mit dem alten Mann",
        ),
        (
            Clause(np("teacher"), VERBS["go"], (Complement(np("school"), "dat", "to", "zu"),), modal=SHOULD),
            "main final",
            "the teacher should go to the school",
            "der Lehrer zur Schule gehen sollte",
        ),
    ],
)
def test_clause(clause: Clause, moods: str, en: str, de: str) -> None:
    """`moods`: the English and the German mood, or one for both."""
    english_mood, german_mood = (moods.split() * 2)[:2]
    assert (english(clause, english_mood), german(clause, german_mood)) == (en, de)


def test_numbers_and_times() -> None:
    assert cardinal(21) == ("twenty-one", "einundzwanzig")
    assert cardinal(16) == ("sixteen", "sechzehn")
    assert cardinal(77) == ("seventy-seven", "siebenundsiebzig")
    assert cardinal(30) == ("thirty", "dreißig")
    assert clock(2, 30) == ("half past two", "halb drei")
    assert clock(12, 30) == ("half past twelve", "halb eins")
    assert clock(1, 0) == ("one o'clock", "ein Uhr")
    assert clock(12, 45) == ("quarter to one", "Viertel vor eins")
    assert clock(6, 40) == ("twenty to seven", "zwanzig vor sieben")
    assert date(3, ("May", "Mai")) == ("the third of May", "dritten Mai")
    assert date(21, ("July", "Juli"), "nom") == ("the twenty-first of July", "einundzwanzigste Juli")
    assert date(7, ("June", "Juni")) == ("the seventh of June", "siebten Juni")
    assert date(20, ("June", "Juni")) == ("the twentieth of June", "zwanzigsten Juni")
    assert len({cardinal(n)[1] for n in range(100)}) == 100


def test_small_words() -> None:
    assert with_preposition("zu", np("doctor"), "dat") == "zur Ärztin"
    assert with_preposition("in", np("house", "the", "old"), "acc") == "ins alte Haus"
    assert with_preposition("in", np("house", "this"), "acc") == "in dieses Haus"
    kept_apart = with_preposition("in", replace(np("house"), relative=("that he has", "das er hat")), "dat")
    assert kept_apart == "in dem Haus, das er hat,"
    assert [relative_pronoun("dat", gender) for gender in "mfnp"] == ["dem", "der", "dem", "denen"]
    assert article("kein", "acc", "m") == "keinen" and article("our", "nom", "f") == "unsere"
    assert it_for(np("coat")).german("acc") == "ihn" and it_for(np("bag")).german() == "sie"
    assert it_for(np("girl")) is None and it_for(np("car", "the", "", True)).english() == "they"


def test_distinct_and_disjoint(corpus) -> None:
    assert {split: len(pairs) for split, pairs in corpus.items()} == {"train": 24_000, "valid": 500, "test": 500}
    everything = [pair for pairs in corpus.values() for pair in pairs]
    for side in (0, 1):
        assert len({pair[side] for pair in everything}) == len(everything)


def test_sizes_are_chosen_by_the_caller() -> None:
    made = english_german.generate({"train": 50, "held_out": 7}, seed=3)
    assert [len(made["train"]), len(made["held_out"]), len(made)] == [50, 7, 2]
    assert made != english_german.generate({"train": 50, "held_out": 7}, seed=4)


def test_form_of_all_pairs(corpus) -> None:
    lengths, words = [], set()
    for en, de in (pair for pairs in corpus.values() for pair in pairs):
        for text in (en, de):
            assert text[0].isupper() and text[-1] in ".?" and text[:-1].count(".") + text[:-1].count("?") == 0, text
            assert text == " ".join(text.split()) and not re.search(r" [,.?]|,[,.?]", text), text
        assert en[-1] == de[-1], (en, de)
        lengths.append(len(en.split()))
        words.update(re.findall(r"[\w'-]+", en.lower()))
    assert 7 <= sum(lengths) / len(lengths) <= 10 and max(lengths) <= 18
    assert 350 <= len(words) <= 600


_FINITE = (
    r"(?:ist|sind|bin|bist|hat|haben|habe|hast|war|warst|waren|hatte|hattest|hatten|wird|werden|werde|wirst"
    r"|kann|kannst|muss|musst|will|willst|darf|darfst|(?:können|müssen|wollen|dürfen)|(?:konnte|musste|wollte|sollte|durfte)(?:n|st)?"
    r"|lag|lagen|stand|standen|gehörten?|kostete|kannten?|kanntest|wohnst|weiß)"
)


def test_subordinate_clauses_end_with_their_verb(corpus) -> None:
    presents = {
        prefix + form
        for verb in (
            *w.ACTIONS, *w.MOTIONS, *w.STAYS, w.DRIVE, w.ARRIVE, w.LEAVE, w.GET_UP, w.COME_BACK, w.BEGIN, w.OPEN,
            w.CLOSE, w.LAY, w.STAND_UP, w.LIE, w.STAND, w.KNOW, w.RAIN, w.SNOW,
        )
        for prefix, form in ((verb.prefix, form) for form in verb.present)
    }  # fmt: skip
    seen = 0
    for _, de in corpus["train"]:
        for found in re.finditer(r"(?:^|, )(?:weil|dass|obwohl|wenn|Wenn|Obwohl|Als|ob|wann|wo) ([^,.?]+)[,.?]", de):
            last = found[1].split()[-1]
            assert last in presents or re.fullmatch(_FINITE, last), de
            seen += 1
    assert seen > 3000


def test_articles_agree_with_the_noun(corpus) -> None:
    """A definite article right before a singular noun is one that the noun's gender has."""
    allowed = {"m": {"der", "den", "dem"}, "f": {"die", "der"}, "n": {"das", "dem"}}
    indefinite = {"m": {"ein", "einen", "einem"}, "f": {"eine", "einer"}, "n": {"ein", "einem"}}
    singular = {noun.de: noun for noun in w.NOUNS.values() if noun.de != noun.de_plural and not noun.weak}
    seen = 0
    for _, de in corpus["train"]:
        # After a comma, der/die/das may be a relative pronoun, the next word a noun of its own: die Kaffee trinkt.
        for found in re.finditer(r"(?<!, )\b([Dd](?:er|ie|as|en|em)|[Ee]in\w{0,2}) (\w+)", de):
            determiner, noun = found[1].lower(), singular.get(found[2])
            if noun:
                assert determiner in allowed[noun.gender] | indefinite[noun.gender], de
                seen += 1
    assert seen > 5000


def test_every_noun_and_verb_is_used(corpus) -> None:
    german_words = {word for _, de in corpus["train"] for word in re.findall(r"\w+", de)}
    assert [noun.de for noun in w.NOUNS.values() if noun.de not in german_words] == []
    assert [verb.infinitive for verb in w.ACTIONS if verb.participle not in german_words] == []


def test_a_lexicon_is_not_enough(corpus) -> None:
    """Words alone reach 14 BLEU; nobody learns this corpus without order and agreement."""
    baseline = LexiconBaseline.fit(corpus["train"])
    hypotheses = [baseline.translate(source) for source, _ in corpus["test"]]
    score = sacrebleu.corpus_bleu(hypotheses, [[target for _, target in corpus["test"]]]).score
    assert 5 < score < 20


def test_same_corpus_in_another_process(tmp_path: Path) -> None:
    """Written twice under different hash seeds and read back: the same bytes, those of `generate`."""
    digests = []
    for hash_seed in ("0", "12345"):
        folder = tmp_path / hash_seed
        # The corpora need no fairseq: loaded beside the package, which would import it.
        code = (
            "import json, sys, types; root = types.ModuleType('b2t_fairseq'); root.__path__ = [sys.argv[1]]; "
            "sys.modules['b2t_fairseq'] = root; from b2t_fairseq.corpora.embedded.english_german import write; "
            "write(sys.argv[2], seed=5); print(json.dumps([n for n in ('torch', 'fairseq') if n in sys.modules]))"
        )
        command = [sys.executable, "-c", code, str(ROOT / "b2t_fairseq"), str(folder)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, capture_output=True, text=True
        )
        assert json.loads(done.stdout) == []
        files = sorted(path.name for path in folder.iterdir())
        assert files == ["test.de", "test.en", "train.de", "train.en", "val.de", "val.en"]
        digests.append(hashlib.sha256(b"".join((folder / name).read_bytes() for name in files)).hexdigest())
    assert digests[0] == digests[1]
    pairs = english_german.generate(seed=5)
    assert (tmp_path / "0" / "val.de").read_text("utf-8") == "".join(f"{de}\n" for _, de in pairs["valid"])


def test_command_line_names_what_it_cannot_write(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    assert guarded(lambda: main(["--output", str(tmp_path / "file" / "corpus")])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(tmp_path / "file") in error and error.count("\n") == 1
