"""Joint BPE: byte for byte what subword-nmt's own commands write, on any number of workers, and faster."""

import random
import subprocess
import sys
import time

import pytest

from b2t_fairseq import UserError
from b2t_fairseq.corpora import bpe, moses
from b2t_fairseq.corpora.fetching import parts

WORDS = ["the", "house", "houses", "housing", "a", "dog", "dogs", "dogged", "über", "größer", "Größe", "中文"]
WORDS += ["naïve", "x", "i'm", "it's", "&amp;", "@-@", "1,000"]
ODD = [
    "",
    " ",
    "  two  spaces ",
    "\ttab\tinside",
    "carriage\r",
    "cr\rinside the line",
    "a\u2028b the\u2029houses",
    "next\x85line form\x0cfeed \x1c \x1d\x1e",
    "non\u00a0breaking zero\u200bwidth \ufeffbom",
    "x",
    "🙂 emoji🙂inside",
    "@@ @@@ a@@",
    "</w> a</w>",
    "\u2028",
    " \u2028 ",
]


def text(lines, seed):
    pick = random.Random(seed)
    return [" ".join(pick.choices(WORDS, k=pick.randint(1, 12))) for _ in range(lines)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two texts, codes and what the plain command makes of odd lines among ordinary ones."""
    folder = tmp_path_factory.mktemp("a folder")
    (folder / "en").write_text("\n".join(text(400, 1)) + "\n", encoding="utf-8")
    (folder / "de").write_text("\n".join(text(300, 2)) + "\n", encoding="utf-8")
    bpe.learn([folder / "en", folder / "de"], folder / "codes", 60, 1)
    lines = text(600, 3)
    for place, line in enumerate(ODD):
        lines.insert(7 * place, line)
    (folder / "odd").write_bytes("\n".join(lines).encode())  # without an LF at the end
    return folder


def plain(command, *arguments):
    """A command of subword-nmt itself, in a process of its own."""
    subprocess.run([sys.executable, "-m", f"subword_nmt.{command}", *map(str, arguments)], check=True)


@pytest.mark.slow
def test_output_is_that_of_the_plain_command(made, monkeypatch):
    monkeypatch.setattr(parts, "PART", 1 << 12)
    plain("apply_bpe", "--codes", made / "codes", "--input", made / "odd", "--output", made / "plain")
    for workers in (1, 2, 3):
        counts = bpe.apply(made / "odd", made / f"ours {workers}", made / "codes", workers)
        assert (made / f"ours {workers}").read_bytes() == (made / "plain").read_bytes()
        assert counts["lines"] == 600 + len(ODD) and counts["lines per second"] > 0
    assert b"@@ " in (made / "plain").read_bytes()


@pytest.mark.slow
def test_codes_are_those_of_the_plain_command(made):
    (made / "both").write_bytes((made / "en").read_bytes() + (made / "de").read_bytes())
    plain("learn_bpe", "-s", 60, "--input", made / "both", "--output", made / "plain codes")
    assert (made / "codes").read_bytes() == (made / "plain codes").read_bytes()
    bpe.learn([made / "en", made / "de"], made / "codes 2", 60, 2)
    assert (made / "codes 2").read_bytes() == (made / "codes").read_bytes()
    assert not list(made.glob("*.text"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_empty_text_and_one_without_codes(made, tmp_path, workers):
    (tmp_path / "empty").write_text("")
    assert bpe.apply(tmp_path / "empty", tmp_path / "out", made / "codes", workers)["lines"] == 0
    assert (tmp_path / "out").read_bytes() == b""
    (tmp_path / "no codes").write_text("this is no codes file\n")
    with pytest.raises(UserError, match="no BPE codes"):
        bpe.apply(made / "odd", tmp_path / "out", tmp_path / "no codes", 1)


def test_text_that_is_not_utf8_is_one_sentence(made, tmp_path, monkeypatch):
    (tmp_path / "latin").write_bytes(b"good line\n" * 9000 + b"gr\xfc\xdfe\n")
    for workers in (1, 2):
        with pytest.raises(UserError, match="not valid UTF-8"):
            bpe.apply(tmp_path / "latin", tmp_path / "out", made / "codes", workers)


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_parts_cover_the_file_and_end_where_lines_do(made, size):
    content = (made / "odd").read_bytes()
    bounds = list(parts.cut(made / "odd", size))
    assert b"".join(content[begin:end] for begin, end in bounds) == content
    assert all(content[end - 1 : end] == b"\n" for _, end in bounds[:-1])
    assert parts.count_lines(made / "odd") == content.count(b"\n") + 1


@pytest.mark.slow
def test_encoding_is_much_faster_than_the_plain_way(made, tmp_path):
    """Both on one core here, so that a busy machine cannot turn the result; docs/data.md has the command for more."""
    from subword_nmt.apply_bpe import BPE

    (tmp_path / "text").write_text("\n".join(text(40_000, 4)) + "\n", encoding="utf-8")
    with open(made / "codes", encoding="utf-8") as codes:
        own = BPE(codes)
    times = []
    for _ in range(2):
        began = time.process_time()
        with (
            open(tmp_path / "text", encoding="utf-8") as source,
            open(tmp_path / "plain", "w", encoding="utf-8") as file,
        ):
            for line in source:
                file.write(own.process_line(line))
        between = time.process_time()
        bpe.apply(tmp_path / "text", tmp_path / "ours", made / "codes", 1)
        times.append((between - began) / (time.process_time() - between))
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "ours").read_bytes()
    assert max(times) > 1.7


def test_moses_tokens_in_parts_keep_the_lines(tmp_path, monkeypatch):
    from sacremoses import MosesTokenizer

    lines = ["It's 5 o'clock, isn't it?", "", "A & B\u2028C <d>", "Äpfel (und Birnen)."] * 30
    (tmp_path / "raw").write_text("\n".join(lines) + "\n", encoding="utf-8")
    moses.tokenise(tmp_path / "raw", tmp_path / "1", "en", 1)
    made = (tmp_path / "1").read_text(encoding="utf-8").split("\n")
    assert made[:4] == [
        MosesTokenizer("en").tokenize(line.replace("\u2028", " "), return_str=True) for line in lines[:4]
    ]
    assert len(made) == 121 and made[0].startswith("It &apos;s 5 o &apos;clock , ")


def test_cleaning_keeps_pairs_of_1_to_80_words_in_step(tmp_path):
    sides = [
        ["a b", "", "x", " ".join("w" * 80), " ".join("w" * 81), "one"],
        ["A B", "Y", "X " * 9, " ".join("W" * 80), "W " * 80, "O " * 10],
    ]
    for name, lines in zip(("en", "de"), sides, strict=True):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    pairs = [tuple(tmp_path / f"{name}{end}" for name in ("en", "de")) for end in ("", ".clean")]
    assert moses.keep_good_pairs(*pairs) == {"pairs": 3, "left out": 3}
    assert [path.read_text().splitlines()[0] for path in pairs[1]] == ["a b", "A B"]
    assert [len(path.read_text().splitlines()) for path in pairs[1]] == [3, 3]
