"""WikiText's layout: the files of every split, tokenisation only where it is needed, and mistakes in one sentence."""

import gzip
import os
from pathlib import Path

import pytest

from b2t_fairseq.corpora import wikitext
from b2t_fairseq.corpora.embedded import python_topics
from b2t_fairseq.corpora.parallel_text import CorpusError

TOKENISED = ["", "= Lobsters =", "", "The lobster , a <unk> of 2 @,@ 500 g , is well @-@ known .", ""]


@pytest.fixture
def folder(tmp_path):
    for split in wikitext.SPLITS:
        (tmp_path / f"wiki.{split}.tokens").write_text("".join(f" {line} \n" for line in TOKENISED))
    return tmp_path


def test_official_files_are_taken_as_they_are(folder):
    text = wikitext.load(folder)
    assert text.splits == dict.fromkeys(wikitext.SPLITS, TOKENISED)
    assert text.signature == "corpus:wikitext|layout:tokens|tokenise:none"


@pytest.mark.parametrize(("pattern", "layout"), [("wiki.{}.raw", "raw"), ("{}.txt", "txt"), ("{}.txt.gz", "txt")])
def test_other_names_and_packed_files(pattern, layout, tmp_path):
    for split in wikitext.SPLITS:
        text = f"{split}: It's 1,200 m-wide, isn't it? Yes.\n\nA `re_name` of 3.5.\n".encode()
        (tmp_path / pattern.format(split)).write_bytes(gzip.compress(text) if pattern.endswith("gz") else text)
    text = wikitext.load(tmp_path)
    assert text.splits["valid"] == [
        "valid : It 's 1 @,@ 200 m @-@ wide , isn 't it ? Yes .",
        "",
        "A `re_name` of 3 @.@ 5 .",
    ]
    assert text.signature == f"corpus:wikitext|layout:{layout}|tokenise:wikitext"
    assert wikitext.load(tmp_path, "none").splits["valid"][0] == "valid: It's 1,200 m-wide, isn't it? Yes."


def test_the_evaluation_part_is_halved_where_an_article_begins(tmp_path):
    (tmp_path / "valid.txt").write_text("Some text .\n")
    articles = [f"= {name} =\n \n{'One . ' * 9}\n" for name in ("A", "B", "C")]
    (tmp_path / "test_first_half.txt").write_text("".join(articles))
    splits = wikitext.load(tmp_path).splits
    assert splits["train"] == ["Some text ."]
    assert splits["valid"][0] == "= A =" and splits["test"][0] in ("= B =", "= C =")
    assert len(splits["valid"]) + len(splits["test"]) == 9
    (tmp_path / "test_first_half.txt").write_text("One .\n = = Section = = \nTwo .\n")
    with pytest.raises(CorpusError, match="no two articles"):
        wikitext.load(tmp_path)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda f: (f / "wiki.test.tokens").unlink(), "has no wiki.test.tokens"),
        (lambda f: (f / "wiki.train.tokens").unlink(), "has no wiki.train.tokens, wiki.train.raw or train.txt"),
        (lambda f: (f / "wiki.train.tokens.gz").write_bytes(b""), "has both wiki.train.tokens and"),
        (lambda f: (f / "wiki.valid.tokens").write_text(" \n\n"), "the file has no text"),
        (lambda f: (f / "wiki.valid.tokens").write_bytes("für".encode("latin-1")), "line 1: not valid UTF-8"),
    ],
)
def test_mistakes_are_one_sentence(harm, sentence, folder):
    harm(folder)
    with pytest.raises(CorpusError, match=sentence):
        wikitext.load(folder)
    with pytest.raises(CorpusError, match="does not exist"):
        wikitext.load(folder / "nowhere")


def test_topics_of_python():
    text = python_topics.load()
    assert python_topics.load() == text
    splits = {name: set(lines) for name, lines in text.splits.items()}
    assert all(len(splits[name]) == len(text.splits[name]) for name in splits), "a paragraph occurs twice"
    assert not splits["train"] & splits["valid"] and not splits["train"] & splits["test"]
    assert not splits["valid"] & splits["test"]
    words = {name: sum(len(line.split()) for line in lines) for name, lines in text.splits.items()}
    assert words["train"] > 30_000 and min(words["valid"], words["test"]) > 2_000
    assert "|python:3." in text.signature
    assert not any(">>>" in line or "::=" in line for lines in splits.values() for line in lines)


@pytest.mark.skipif("B2T_DATA" not in os.environ, reason="B2T_DATA is not set")
def test_the_real_evaluation_part():
    text = wikitext.load(Path(os.environ["B2T_DATA"]) / "wikitext2-raw")
    words = {name: sum(len(line.split()) for line in lines) for name, lines in text.splits.items()}
    assert words == {"train": 213886, "valid": 60653, "test": 57465}
    assert wikitext.ARTICLE.fullmatch(text.splits["test"][0]) and text.signature.endswith("tokenise:none")
