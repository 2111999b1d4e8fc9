"""The embedded news: the same on every machine, disjoint splits, and headlines that take reading."""

import hashlib
import re
import time

import pytest

from b2t_fairseq.corpora.embedded import news
from b2t_fairseq.corpora.embedded.news import __main__ as command
from b2t_fairseq.evaluation.rouge import corpus_rouge
from b2t_fairseq.experiments.baselines.headlines import best_constant, first_words

DIGEST = "ab3e14be452eb1d2"


@pytest.fixture(scope="module")
def splits() -> dict[str, list[tuple[str, str]]]:
    return news.generate()


def test_it_is_the_same_everywhere(splits):
    content = "\n".join(f"{name}\t{text}\t{headline}" for name, pairs in splits.items() for text, headline in pairs)
    assert hashlib.sha256(content.encode()).hexdigest()[:16] == DIGEST
    assert news.generate({"train": 50, "valid": 5, "test": 5}, seed=2)["train"] != splits["train"][:50]


def test_it_has_its_sizes_and_is_made_in_seconds():
    began = time.process_time()
    splits = news.generate()
    assert {name: len(pairs) for name, pairs in splits.items()} == {"train": 24_000, "valid": 500, "test": 500}
    assert time.process_time() - began < 15


def test_no_text_occurs_twice_and_no_headline_in_two_splits(splits):
    texts = [text for pairs in splits.values() for text, _ in pairs]
    assert len(set(texts)) == len(texts)
    headlines = {name: {headline for _, headline in pairs} for name, pairs in splits.items()}
    assert (
        not headlines["train"] & (headlines["valid"] | headlines["test"]) and not headlines["valid"] & headlines["test"]
    )
    assert len(headlines["valid"]) == len(headlines["test"]) == 500


def test_texts_are_sentences_and_headlines_are_not_their_beginning(splits):
    for text, headline in splits["train"][:3000]:
        assert re.fullmatch(r"[A-Z0-9].*[a-z]\.", text) and not re.search(r",[,.]|  |\s,", text), text
        assert 3 <= len(headline.split()) <= 12 and not text.startswith(headline)
        assert not re.search(r"\b(a|an|the|on|said)\b", headline), headline


def test_verbs_agree_with_who_does_it(splits):
    headlines = [headline for _, headline in splits["train"]]
    assert any(re.search(r"\bquake kills\b", line) for line in headlines)
    assert any(re.search(r"\bfloods kill\b", line) for line in headlines)
    assert not any(
        re.search(r"workers strikes|sales rises|profit rise \d|floods kills|quake kill ", line) for line in headlines
    )


def test_neither_copying_nor_a_constant_solves_it(splits):
    test = splits["test"]
    titles = [headline for _, headline in test]
    constant = best_constant(splits["train"][:3000], splits["valid"])
    scores = {
        "constant": corpus_rouge([constant] * len(test), titles)["ROUGE-1"].score,
        "copy": corpus_rouge([first_words(text) for text, _ in test], titles)["ROUGE-1"].score,
    }
    assert 8 < scores["constant"] < 14 and 18 < scores["copy"] < 30, scores


def test_it_can_be_written_in_gigawords_layout(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(news, "SIZES", {"train": 20, "valid": 2, "test": 2})
    assert command.main(["--output", str(tmp_path / "news")]) == 0
    lines = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "news").iterdir()}
    wanted = {"train.article.txt": 20, "train.title.txt": 20, "valid.article.txt": 2, "valid.title.txt": 2}
    assert lines == wanted | {"input.txt": 2, "task1_ref0.txt": 2}
