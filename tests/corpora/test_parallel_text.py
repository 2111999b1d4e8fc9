"""Reading real parallel text: every file layout we accept, and one clear sentence for each that we do not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from b2t_fairseq.corpora.parallel_text import CorpusError, find, load_split, read

TEXT = {
    "train.en": "a\nb\n",
    "train.de": "ä\nb\n",
    "val.en": "c\n",
    "val.de": "c\n",
    "test.en": "d\n",
    "test.de": "d\n",
}


def folder(path: Path, **changes: str | bytes | None) -> Path:
    """A good folder with some files changed (a name's dot written as two underscores) or, with None, left out."""
    files = TEXT | {name.replace("__", "."): content for name, content in changes.items()}
    for name, content in files.items():
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            (path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_finds_plain_gzip_and_several_test_sets(tmp_path: Path) -> None:
    folder(
        tmp_path, train__en=None, train__en__gz="a\nb\n", test_2017__de__gz="x\n", test_2017__en="y\n", notes__txt=""
    )
    found = find(tmp_path, "en", "de")
    assert list(found.tests) == ["test", "test_2017"] and list(found.splits()) == [
        "train",
        "valid",
        "test",
        "test_2017",
    ]
    assert load_split(found.train) == [("a", "ä"), ("b", "b")]
    assert load_split(found.tests["test_2017"]) == [("y", "x")]
    assert load_split(find(tmp_path, "de", "en").train) == [("ä", "a"), ("b", "b")]


@pytest.mark.parametrize("name", ["valid", "dev"])
def test_other_names_of_the_validation_set(tmp_path: Path, name: str) -> None:
    folder(tmp_path, val__en=None, val__de=None, **{f"{name}__en": "v\n", f"{name}__de": "w\n"})
    assert load_split(find(tmp_path, "en", "de").valid) == [("v", "w")]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"train__de": None}, ("no train.de", "train.de.gz", "add it")),
        ({"val__en": None, "val__de": None}, ("no val.en", "add it")),
        ({"test__de": None}, ("no test.de",)),
        ({"test__en": None, "test__de": None}, ("no test set", "add test.en")),
        ({"train__en__gz": "a\nb\n"}, ("both train.en and train.en.gz", "keep one")),
        ({"valid__en": "c\n", "valid__de": "c\n"}, ("both val and valid", "keep one")),
        ({"train__de": "ä\n"}, ("train.en has 2 lines", "train.de has 1")),
        ({"train__de": "ä\n\n"}, ("train.de, line 2", "empty line")),
        ({"train__en": "\n  \t\n", "train__de": "a\nb\n"}, ("train.en, line 1", "(and 1 more)")),
        ({"train__en": ""}, ("train.en", "file is empty")),
        ({"train__en": b"a\nb\xff\n"}, ("train.en, line 2", "UTF-8")),
        ({"train__en": None, "train__en__gz": "a\nb\n", "cut": True}, ("train.en.gz", "gzip")),
        ({"train__en": None, "train__en__gz": "a\nb\n", "garbled": True}, ("train.en.gz", "gzip")),
    ],
)
def test_bad_input_is_named(tmp_path: Path, changes: dict, parts: tuple[str, ...]) -> None:
    cut, garbled = changes.pop("cut", False), changes.pop("garbled", False)
    folder(tmp_path, **changes)
    if cut:
        packed = tmp_path / "train.en.gz"
        packed.write_bytes(packed.read_bytes()[:-9])
    if garbled:
        (tmp_path / "train.en.gz").write_bytes(b"a\nb\n")
    with pytest.raises(CorpusError) as caught:
        for files in find(tmp_path, "en", "de").splits().values():
            load_split(files)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message and message.endswith(".")


def test_missing_folder_and_equal_languages(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, source, part in (
        ("nowhere", "en", "no such folder"),
        ("file", "en", "not a folder"),
        (".", "de", "both 'de'"),
    ):
        with pytest.raises(CorpusError, match=part):
            find(tmp_path / path, source, "de")
    with pytest.raises(CorpusError, match="cannot be read"):
        read(tmp_path / "nowhere")


def test_lines_end_at_lf_only(tmp_path: Path) -> None:
    """What str.splitlines takes for line ends, a BOM, CR LF and a missing last LF shift no line."""
    lines = ["\ufeffone\r", "t\u2028wo\u2029x", "th\x85ree\x0b\x0c", "\x1cfo\tur\x00 \x1e", "five\u00a0 six\rseven"]
    (tmp_path / "file").write_bytes("\n".join(lines).encode())
    read_lines = read(tmp_path / "file")
    assert read_lines == ["one", "t wo x", "th ree", "fo ur", "five six seven"]
    assert "\n".join(read_lines).splitlines() == read_lines
    (tmp_path / "file").write_bytes("\n".join([*lines, ""]).encode())
    assert read(tmp_path / "file") == read_lines


@pytest.mark.skipif("B2T_DATA" not in os.environ, reason="B2T_DATA is not set")
def test_multi30k() -> None:
    found = find(Path(os.environ["B2T_DATA"]) / "multi30k", "en", "de")
    assert {name: len(load_split(files)) for name, files in found.splits().items()} == {
        "train": 29_000,
        "valid": 1_014,
        "test_2016_flickr": 1_000,
    }
