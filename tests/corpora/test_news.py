"""The embedded news: the same on every machine, disjoint splits, headlines that take reading, correct English."""

import hashlib
import re
import time

import pytest

from b2t_fairseq.corpora.embedded import english_german, news
from b2t_fairseq.corpora.embedded.news import __main__ as command
from b2t_fairseq.corpora.embedded.news import articles, draw, events
from b2t_fairseq.corpora.embedded.news import words as w
from b2t_fairseq.evaluation.rouge import corpus_rouge
from b2t_fairseq.experiments.baselines.headlines import best_constant, first_words

DIGEST = "26d681a84aab58e4"
ENGLISH_GERMAN = "9b6350ea7b887db4"  # it draws by the same choices


@pytest.fixture(scope="module")
def splits() -> dict[str, list[tuple[str, str]]]:
    return news.generate()


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def test_it_is_the_same_everywhere(splits):
    content = "\n".join(f"{name}\t{text}\t{headline}" for name, pairs in splits.items() for text, headline in pairs)
    assert digest(content) == DIGEST
    assert digest(repr(english_german.generate())) == ENGLISH_GERMAN
    small = {"train": 50, "valid": 5}
    assert news.generate(small, seed=2) == news.generate(small, seed=2) != news.generate(small, seed=3)


def test_it_has_its_sizes_and_is_made_in_seconds():
    began = time.process_time()
    splits = news.generate()
    assert {name: len(pairs) for name, pairs in splits.items()} == {"train": 24_000, "valid": 500, "test": 500}
    assert time.process_time() - began < 15  # 3 seconds on a core of its own


def test_no_text_and_no_headline_occurs_twice(splits):
    pairs = [pair for split in splits.values() for pair in split]
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)


def test_the_form_of_all_pairs(splits):
    for text, headline in (pair for split in splits.values() for pair in split):
        assert re.fullmatch(r"[a-z0-9][a-z0-9 '.,-]* \.", text) and len(text.split()) <= news.MAX_WORDS, text
        assert not re.search(r"  |, [,.]|\S,|\ba [aeiou]|\ban [^aeiou]|\b(\w+) \1\b", text), text
        assert re.fullmatch(r"[a-z0-9][a-z0-9 .-]*[a-z0-9]", headline) and 4 <= len(headline.split()) <= 14, headline
        assert not re.search(r"\b(a|an|the|said|percent|million|would|\w+day)\b", headline), headline


def test_no_headline_stands_in_its_text(splits):
    assert not any(headline in text for split in splits.values() for text, headline in split)


def test_neither_copying_nor_a_constant_solves_it(splits):
    test = splits["test"]
    titles = [headline for _, headline in test]
    constant = best_constant(splits["train"][:3000], splits["valid"])
    lines = {"constant": [constant] * len(test), "copy": [first_words(text) for text, _ in test]}
    scores = {name: corpus_rouge(said, titles)["ROUGE-1"].score for name, said in lines.items()}
    assert 7 < scores["constant"] < 12 and 22 < scores["copy"] < 28, scores


def test_the_news_are_often_not_what_the_text_begins_with(splits):
    """A fifth of the texts begin with a subordinate clause, and many say nothing of the headline in six words."""
    behind = [text for text, _ in splits["train"] if re.match(r"(after|while|although|despite|a \w+ before) ", text)]
    assert 0.1 < len(behind) / len(splits["train"]) < 0.3
    disjoint = [set(text.split()[:6]).isdisjoint(headline.split()) for text, headline in splits["train"]]
    assert 0.2 < sum(disjoint) / len(disjoint) < 0.6


@pytest.mark.parametrize(
    ("text", "base", "third", "past", "participle", "ing"),
    [
        ("build", "build", "builds", "built", "built", "building"),
        ("close", "close", "closes", "closed", "closed", "closing"),
        ("put_off", "put off", "puts off", "put off", "put off", "putting off"),
        ("try_out", "try out", "tries out", "tried out", "tried out", "trying out"),
        ("buy", "buy", "buys", "bought", "bought", "buying"),
        ("expel", "expel", "expels", "expelled", "expelled", "expelling"),
        ("withdraw", "withdraw", "withdraws", "withdrew", "withdrawn", "withdrawing"),
        ("deny", "deny", "denies", "denied", "denied", "denying"),
        ("destroy", "destroy", "destroys", "destroyed", "destroyed", "destroying"),
        ("probe", "probe", "probes", "probed", "probed", "probing"),
        ("freeze", "freeze", "freezes", "froze", "frozen", "freezing"),
        ("launch", "launch", "launches", "launched", "launched", "launching"),
        ("take_over", "take over", "takes over", "took over", "taken over", "taking over"),
    ],
)
def test_verbs(text, base, third, past, participle, ing):
    assert w.verb(text) == w.Verb(base, third, past, participle, ing)


@pytest.mark.parametrize(
    ("plural", "passive", "clause", "headline"),
    [
        (False, False, "the union of dutch bakers shut down the dam near lyon", "dutch bakers union closes lyon dam"),
        (True, False, "bakers in lyon shut down the dam near lyon", "french bakers close lyon dam"),
        (True, True, "the dam near lyon was shut down by bakers in lyon", "french bakers close lyon dam"),
    ],
)
def test_a_deed_is_said_in_both_voices(plural, passive, clause, headline):
    agent = draw.Phrase("the union of dutch bakers", "dutch bakers union")
    if plural:
        agent = draw.Phrase("bakers in lyon", "french bakers", True, "they")
    action = next(action for action in w.ACTIONS["building"] if action.head.base == "close")
    deed = events.Deed(agent, action, w.verb("shut_down"), draw.Phrase("the dam near lyon", "lyon dam"))
    said = deed.passive("was") if passive else f"{agent.text} {deed.active('past')}"
    assert said == clause
    assert f"{agent.head} {events.verb_of(agent, action.head)} {deed.thing.head}" == headline


def test_words_of_headlines(splits):
    """What a text says and what its headline makes of it."""
    of = {headline: text for text, headline in splits["train"]}
    seen = dict.fromkeys(("pct", "up", "to", "nationality", "number", "score"), 0)
    for headline, text in of.items():
        if found := re.search(r"(up|down) ([\d.]+) pct$", headline):
            up = re.search(rf"(rose by|climbed|increased by) {re.escape(found[2])} percent", text)
            assert bool(up) == (found[1] == "up"), (text, headline)
            seen["pct"] += 1
        if found := re.match(r"(\d+) (die|hurt) in (\w+) ", headline):
            country = next(country for country in w.COUNTRIES if country.adjective == found[3])
            assert re.search(rf"(near|outside|north of) ({'|'.join(country.cities)})", text), (text, headline)
            assert w.NUMERALS[int(found[1]) - 2] in text
            seen["nationality"] += 1
        if found := re.match(r"(\w+) beats (\w+) (\d+)-(\d+) in ", headline):
            won, lost = int(found[3]), int(found[4])
            lines = rf"{found[2]} lost {lost}-{won} to (the )?{found[1]}", rf"{found[2]} was \w+ {won}-{lost} by "
            assert won > lost and re.search(rf"{'|'.join(lines)}|{found[1]} \w+ (the )?{found[2]} {won}-{lost}", text)
            seen["score"] += 1
    assert seen["pct"] > 1000 and seen["nationality"] > 500 and seen["score"] > 400, seen


def test_older_facts_are_marked(splits):
    """A sentence before the news is in the past perfect, and only that one is."""
    for text, _ in splits["train"][:5000]:
        first, _, second = text.removesuffix(" .").partition(" . ")
        if second and re.search(rf" had (been )?\w+.* ({'|'.join(OLD)})$", first):
            assert not re.match(r"[^,]* had been ", second), text
    assert articles.finished("a , b , , c , .") == "a , b , c ."


OLD = ("last year", "last week", "last month", "two years ago", "in the spring", "last summer")


def test_it_can_be_written_in_gigawords_layout(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(news, "SIZES", {"train": 20, "valid": 2, "test": 2})
    assert command.main(["--output", str(tmp_path / "news")]) == 0
    lines = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "news").iterdir()}
    wanted = {"train.article.txt": 20, "train.title.txt": 20, "valid.article.txt": 2, "valid.title.txt": 2}
    assert lines == wanted | {"input.txt": 2, "task1_ref0.txt": 2}
