"""Headlines: tables and Gigaword's layout, disjoint splits, and what is refused; docstrings; baselines."""

import gzip
import os
import random
from pathlib import Path

import pytest

from b2t_fairseq.corpora import headlines
from b2t_fairseq.corpora.embedded import docstrings
from b2t_fairseq.corpora.parallel_text import CorpusError
from b2t_fairseq.experiments.baselines import headlines as headline_baselines


def rows(number: int) -> list[str]:
    return [f"text {n} goes on\theadline {n}" for n in range(number)]


def write(path: Path, lines: list[str]) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def gigaword(tmp_path):
    """The archive's own folders and names."""
    for name, count in (("train/{}.txt", 8), ("train/valid.{}.filter.txt", 2)):
        for side, word in (("article", "text"), ("title", "headline")):
            stem = f"train.{side}" if "valid" not in name else side
            write(tmp_path / name.format(stem), [f"{word} {count} {n}" for n in range(count)])
    write(tmp_path / "Giga" / "input.txt", ["text a", "text b"])
    write(tmp_path / "Giga" / "task1_ref0.txt", ["headline a", "headline b"])
    return tmp_path


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_a_table_is_split_by_line_number(name, tmp_path):
    path = write(tmp_path / name, rows(45))
    for where in (path, tmp_path):
        splits = headlines.load(where).splits
        assert [len(splits[split]) for split in ("train", "valid", "test")] == [41, 2, 2]
        assert splits["train"][0] == ("text 0 goes on", "headline 0") and splits["test"][-1][1] == "headline 44"


def test_gigaword(gigaword):
    found = headlines.load(gigaword)
    assert found.splits["train"][7] == ("text 8 7", "headline 8 7") and len(found.splits["train"]) == 8
    assert found.splits["valid"] == [("text 2 0", "headline 2 0"), ("text 2 1", "headline 2 1")]
    assert found.splits["test"] == [("text a", "headline a"), ("text b", "headline b")]
    assert found.signature == "corpus:headlines|gigaword"


def test_training_gives_way_and_says_so(gigaword):
    write(gigaword / "train/train.article.txt", ["text a", "one", "one", "", "text 2 1", "two"])
    write(gigaword / "train/train.title.txt", ["other", "first", "first", "x", "y", "second"])
    found = headlines.load(gigaword)
    assert found.splits["train"] == [("one", "first"), ("two", "second")]
    assert found.left_out == {"empty": 1, "repeated": 1, "in valid or test": 2}


@pytest.mark.parametrize(
    ("name", "lines", "sentence"),
    [
        ("Giga/input.txt", ["text a"], "has 1 lines and .*task1_ref0.txt has 2"),
        ("Giga/task1_ref0.txt", ["headline a", " "], "task1_ref0.txt, line 2: a headline without a letter"),
        ("Giga/task1_ref0.txt", ["headline a", "日本"], "line 2: a headline without a letter"),
        ("Giga/input.txt", ["", "text b"], "line 1: an empty text"),
        ("train/train.article.txt", ["text a"] * 8, "no training pair is left"),
        ("input.txt", ["text"], "input.txt but no task1_ref0.txt"),
        ("train/train.title.txt.gz", ["x"], "has both train.title.txt and train.title.txt.gz"),
    ],
)
def test_bad_gigaword_is_refused(name, lines, sentence, gigaword):
    write(gigaword / name, lines)
    with pytest.raises(CorpusError, match=sentence):
        headlines.load(gigaword)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("no tab", "line 30: needs a text, one tab"), ("a\tb\tc", "line 30"), ("a\t ", "line 30"), ("\tb", "line 30")],
)
def test_bad_tables_are_refused(line, sentence, tmp_path):
    table = rows(40)
    table[29] = line
    with pytest.raises(CorpusError, match=sentence):
        headlines.load(write(tmp_path / "a.tsv", table))
    with pytest.raises(CorpusError, match="has 5 lines"):
        headlines.load(write(tmp_path / "short.tsv", rows(5)))
    with pytest.raises(CorpusError, match="has the tables a.tsv, short.tsv"):
        headlines.load(tmp_path)
    with pytest.raises(CorpusError, match="no such file"):
        headlines.load(tmp_path / "nothing")


def test_first_sentence_and_rest():
    docstring = (
        "Return e.g. the ``norm`` of `x`. It is a float.\n\nParameters\n----------\nx : array\n    Any :class:`A`."
    )
    text, headline = docstrings.halves(docstring)
    assert headline == "return e.g. the norm of x" and text == "it is a float. parameters x : array any a."
    assert docstrings.halves("Just a line") == ("", "just a line")


def test_docstrings_of_some_sources(tmp_path, monkeypatch):
    texts = [
        f'"""Compute the value number {n} of all. It needs {n} arguments, which are given as they are."""'
        for n in range(60)
    ]
    functions = "".join(f"def f{n}():\n    {text}\n" for n, text in enumerate(texts))
    write(tmp_path / "lib" / "a.py", [functions, *(f"class C{n}:\n    {texts[n]}" for n in range(5))])
    write(tmp_path / "lib" / "broken.py", ["def f(:"])
    write(tmp_path / "lib" / "tests" / "t.py", [f"def f():\n    {texts[0].replace('value', 'test')}"])
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path / "lib"))
    monkeypatch.setattr(docstrings, "PACKAGES", {"no-such-package": "no_such_package"})
    corpus = docstrings.Docstrings()
    pairs = [pair for split in corpus.splits.values() for pair in split]
    assert sorted(pairs) == sorted({docstrings.halves(text.strip('"')) for text in texts})
    assert all(corpus.splits[name] for name in ("train", "valid", "test"))
    assert "|no-such-package:missing|unreadable:broken.py" in corpus.signature
    before = corpus.fingerprint()
    write(tmp_path / "lib" / "b.py", ["x = 1"])
    assert docstrings.Docstrings().fingerprint() != before


def test_installed_packages_stand_in_the_signature_and_none_is_imported():
    import subprocess
    import sys

    code = (
        "import sys; from b2t_fairseq.corpora.embedded.docstrings import Docstrings;"
        "c = Docstrings(); c.files = c.files[::40];"
        "before = set(sys.modules); c.splits; print(c.signature); print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    signature, imported = done.stdout.splitlines()
    assert all(f"|{name}:" in signature for name in ("python", "numpy", "scipy", "scikit-learn", "torch"))
    assert imported == "[]" and not done.stderr


def test_the_constant_headline_is_the_best_of_all():
    """Against every training headline tried in full."""
    from b2t_fairseq.evaluation.rouge import corpus_rouge

    words = ["return", "the", "value", "of", "an", "array", "set", "a", "name", "for", "model"]
    draw = random.Random(3)
    pairs = [("text", " ".join(draw.choices(words, k=draw.randint(3, 7)))) for _ in range(80)]
    train, valid = pairs[:60], pairs[60:]

    def quality(headline: str) -> float:
        scores = corpus_rouge([headline] * len(valid), [title for _, title in valid], samples=1)
        return sum(score.score for score in scores.values())

    best = headline_baselines.best_constant(train, valid)
    assert quality(best) == pytest.approx(max(quality(title) for _, title in train), abs=0.03)
    assert headline_baselines.first_words("a b c", 2) == "a b"


@pytest.mark.skipif("B2T_DATA" not in os.environ, reason="B2T_DATA is not set")
@pytest.mark.parametrize(("name", "sizes"), [("ag_news", [5940, 330, 330]), ("debian", [32631, 1812, 1812])])
def test_the_real_tables(name, sizes):
    splits = headlines.load(Path(os.environ["B2T_DATA"]) / "headlines" / f"{name}.tsv.gz").splits
    assert [len(splits[split]) for split in ("train", "valid", "test")] == sizes
