"""Headline pairs from RealNews and NewsCrawl: what is taken, what is left out and why, in bounded memory."""

import base64
import gzip
import io
import json
import subprocess
import sys
import tarfile

import pytest

from b2t_fairseq import UserError
from b2t_fairseq.corpora import news_headlines
from b2t_fairseq.corpora.news_headlines import Seen, extract_pairs, first_sentence

TEXT = "Mr. Smith of the U.S. bought 25 houses in Berlin on Monday, for $3.5 million. He has sold none."
TITLE = "Smith buys 25 houses"
ARTICLE = "mr. smith of the u.s. bought ## houses in berlin on monday , for $ #.# million ."
HEADLINE = "smith buys ## houses"


def realnews(title=TITLE, text=TEXT):
    return json.dumps({"title": title, "text": text, "domain": "x.com", "split": "train"}).encode() + b"\n"


def newscrawl(*sentences):
    split, whole = "\n".join(sentences).encode(), " ".join(sentences).encode()
    return b"20200101\t" + base64.b64encode(split) + b"\t" + base64.b64encode(whole) + b"\n"


def pairs(prefix):
    sides = [prefix.with_name(f"{prefix.name}.{side}").read_text().splitlines() for side in ("article", "title")]
    return list(zip(*sides, strict=True))


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "tar.gz", "folder"])
@pytest.mark.parametrize("document", [realnews(), newscrawl(TITLE, *TEXT.split("million. "))], ids=["real", "crawl"])
def test_pairs_in_gigawords_form(tmp_path, kind, document):
    if document.startswith(b"2020"):
        document = newscrawl(TITLE, TEXT.split(" He")[0], "He has sold none.")
    path = tmp_path / f"some news.{kind}"
    if kind == "tar.gz":
        with tarfile.open(path, "w:gz") as archive:
            entry = tarfile.TarInfo("realnews/realnews.jsonl")
            entry.size = len(document)
            archive.addfile(entry, io.BytesIO(document))
    elif kind == "folder":
        path.mkdir()
        (path / "a.gz").write_bytes(gzip.compress(document))
    else:
        path.write_bytes(gzip.compress(document) if kind.endswith("gz") else document)
    assert extract_pairs([path], tmp_path / "out" / "more")["pairs"] == 1
    assert pairs(tmp_path / "out" / "more") == [(ARTICLE, HEADLINE)]


def test_what_is_left_out_is_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(news_headlines, "LONGEST_LINE", 10_000)
    documents = [
        realnews(),
        realnews(),
        realnews(title="Short"),
        realnews(title="word " * 31),
        realnews(text="Too few words here."),
        realnews(text="word " * 101),
        realnews(title=TEXT[:40]),
        realnews(title=None),
        b'{"title": "no text"}\n',
        b'{"broken\n',
        b"no tabs\n",
        b"20200101\t!!!!\tx\n",
        newscrawl(""),
        b"[1]\n",
        b"\n",
        realnews(text="y" * 25_000),
        realnews(title="Another good headline"),
        realnews(title="Half a \ud83d surrogate headline"),
    ]
    (tmp_path / "n.jsonl").write_bytes(b"".join(documents))
    counts = extract_pairs([tmp_path / "n.jsonl"], tmp_path / "o")
    assert counts == {
        "pairs": 3,
        "repeated": 1,
        "headline too short": 2,
        "headline too long": 1,
        "text too short": 1,
        "text too long": 1,
        "headline in text": 1,
        "malformed": 6,
        "too long to read": 1,
    }
    assert "repeated 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("\n\n  Dr. No met J. R. Smith. Then he left.", "Dr. No met J. R. Smith."),
        ('"It is over!" he said. It was.', '"It is over!" he said.'),
        ("It costs 3.5 million. 20 people came.", "It costs 3.5 million."),
        ("No end here\nsecond line. Third.", "No end here"),
        ("", ""),
    ],
)
def test_first_sentences(text, sentence):
    assert first_sentence(text) == sentence


def test_limit_and_mistakes(tmp_path):
    (tmp_path / "n").write_bytes(b"".join(realnews(title=f"{TITLE} in {'x' * n}") for n in range(1, 9)))
    assert extract_pairs([tmp_path / "n"], tmp_path / "o", limit=3)["pairs"] == 3 == len(pairs(tmp_path / "o"))
    (tmp_path / "bad.gz").write_bytes(gzip.compress(realnews() * 100)[:-20])
    with pytest.raises(UserError, match="damaged or incomplete"):
        extract_pairs([tmp_path / "bad.gz"], tmp_path / "p")
    (tmp_path / "novel").write_text("Call me Ishmael.\n")
    with pytest.raises(UserError, match="no headline pair"):
        extract_pairs([tmp_path / "novel"], tmp_path / "p")
    assert not (tmp_path / "p.article").exists()


def test_the_filter_of_repetitions_seldom_errs():
    seen = Seen(bits=1 << 20)
    assert all(seen.add(f"text {n}") for n in range(1000)) and not any(seen.add(f"text {n}") for n in range(1000))
    wrong = sum(not seen.add(f"other {n}") for n in range(50_000))
    assert wrong < 50


STREAMED = """
import resource, sys
from pathlib import Path
from b2t_fairseq.corpora.news_headlines import Seen, lines_of, streams_of, documents
from collections import Counter
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
number = sum(1 for _ in documents([Path(sys.argv[1])], Counter()))
print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow(tmp_path):
    """60 MB of documents and one line of 40 MB, packed to little; less than 45 MB of them are in memory at a time."""
    with gzip.open(tmp_path / "n.gz", "wb", 1) as file:
        for number in range(600):
            file.write(realnews(text=f"{number} " + TEXT * 1000))
        file.write(b'{"title": "' + b"x" * 40_000_000 + b'"}\n')
    done = subprocess.run(
        [sys.executable, "-c", STREAMED, str(tmp_path / "n.gz")], capture_output=True, text=True, check=True
    )
    number, kilobytes = map(int, done.stdout.split())
    assert number == 600 and kilobytes < 45_000
