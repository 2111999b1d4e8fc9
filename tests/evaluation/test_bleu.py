"""BLEU: known values, the order of fairseq-generate's output, and cases that must give an error and never a number."""

import json

import pytest

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.evaluation.bleu import corpus_bleu, line, read_generate_output
from b2t_fairseq.evaluation.text import read_lines

REFERENCES = ["The cat sat on the mat .", "Ein Zug fährt um neun Uhr ab .", "Das ist gut , oder nicht ?"]


def generated(sentences, kinds="SHD"):
    """Output in the form of fairseq-generate: batches in order of length, so the numbers are mixed up."""
    for number in sorted(range(len(sentences)), key=lambda n: -len(sentences[n])):
        yield from (f"S-{number}\tsource\n" for _ in range("S" in kinds))
        yield from (f"{kind}-{number}\t-0.5\t{sentences[number]}\n" for kind in kinds if kind in "HD")
        yield f"P-{number}\t-0.1 -0.2\n"
    yield "Generate test with beam=4: BLEU4 = 1.00\n"


def test_known_values():
    assert corpus_bleu(REFERENCES, REFERENCES).score == 100.0
    # by hand: unigrams 6/7, bigrams 4/6, trigrams 3/5, 4-grams 2/4, no brevity penalty
    score = corpus_bleu(["The cat sat on the rug ."], REFERENCES[:1])
    assert score.counts["correct"] == [6, 4, 3, 2] and score.counts["total"] == [7, 6, 5, 4]
    assert score.score == pytest.approx(100 * (6 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25, abs=0.01)
    assert "tok:13a" in score.signature and "version:" in score.signature


def test_the_tokenizer_is_in_the_signature():
    assert "tok:char" in corpus_bleu(REFERENCES, REFERENCES, tokenize="char").signature


@pytest.mark.parametrize(
    "hypotheses, references, sentence",
    [
        (REFERENCES[:2], REFERENCES, "2 hypotheses for 3 references"),
        (REFERENCES, REFERENCES[:2], "3 hypotheses for 2 references"),
        ([], [], "no sentence"),
        (REFERENCES, [REFERENCES[0], "  ", REFERENCES[2]], "line 2 is empty"),
    ],
)
def test_no_number_without_a_complete_test_set(hypotheses, references, sentence):
    with pytest.raises(UserError, match=sentence):
        corpus_bleu(hypotheses, references)


def test_generate_output_is_put_in_order():
    assert read_generate_output(generated(REFERENCES)) == REFERENCES
    assert read_generate_output(generated(REFERENCES, "H")) == REFERENCES


def test_detokenised_lines_win_over_raw_ones_and_the_best_of_nbest_is_taken():
    lines = ["H-0\t-0.1\t▁a b\n", "D-0\t-0.1\tab\n", "H-0\t-0.9\t▁c\n", "D-0\t-0.9\tc\n", "D-1\t-1\t\n"]
    assert read_generate_output(lines) == ["ab", ""]


def test_missing_and_repeated_sentences_are_refused():
    lines = list(generated(REFERENCES))
    with pytest.raises(UserError, match="lacks 1 of 3 sentences, the first is number 1"):
        read_generate_output(text for text in lines if not text.startswith("D-1"))
    with pytest.raises(UserError, match="more than once"):
        read_generate_output(lines + lines)
    with pytest.raises(UserError, match="no hypothesis"):
        read_generate_output(["a log line\n"])


def test_the_last_sentence_missing_is_found_when_scoring():
    hypotheses = read_generate_output(text for text in generated(REFERENCES) if not text.startswith("D-2"))
    with pytest.raises(UserError, match="2 hypotheses for 3 references"):
        corpus_bleu(hypotheses, REFERENCES)


def test_lines_end_at_line_feeds_only(tmp_path):
    (tmp_path / "text").write_text("a\u2028b\x85c\nd\n", encoding="utf-8")
    assert read_lines(tmp_path / "text") == ["a\u2028b\x85c", "d"]
    (tmp_path / "latin").write_bytes("für".encode("latin-1"))
    with pytest.raises(UserError, match="not valid UTF-8"):
        read_lines(tmp_path / "latin")


def test_command_line_prints_one_signed_line_and_json(tmp_path, capsys):
    (tmp_path / "gen.out").write_text("".join(generated(REFERENCES)), encoding="utf-8")
    (tmp_path / "ref").write_text("\n".join(REFERENCES) + "\n", encoding="utf-8")
    arguments = [
        "--hypotheses",
        str(tmp_path / "gen.out"),
        "--references",
        str(tmp_path / "ref"),
        "--connection",
        "b2t",
    ]
    assert cli.main(["bleu", *arguments, "--json", str(tmp_path / "score.json")]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("BLEU 100.00 | split:test | checkpoint:unknown | connection:b2t | nrefs:1|case:mixed")
    facts = json.loads((tmp_path / "score.json").read_text())
    assert facts["score"] == 100.0 and facts["counts"]["sentences"] == 3 and facts["signature"] in printed
    assert line(corpus_bleu(REFERENCES, REFERENCES), "test", "unknown", "connection:b2t") == printed


LOG = """2026-11-26 10:17:35 | INFO | fairseq_cli.generate | loading model(s) from runs/one.pt:runs/two.pt
2026-11-26 10:17:35 | INFO | b2t_fairseq.models.options | signature: connection:post|init:default|layers:6-6
2026-11-26 10:17:36 | INFO | b2t_fairseq.models.options | signature: connection:{}|init:default|layers:6-6
"""


@pytest.mark.parametrize(
    "second, options, said",
    [
        (
            "post",
            [],
            "checkpoint:runs/one.pt:runs/two.pt | connection:post|init:default|layers:6-6 | nrefs",
        ),
        ("pre", [], "|layers:6-6 + connection:pre|init:default|layers:6-6 | nrefs"),
        ("post", ["--connection", "b2t", "--checkpoint", "mine"], "checkpoint:mine | connection:b2t | nrefs"),
    ],
)
def test_the_log_says_what_is_scored(second, options, said, tmp_path, capsys):
    """But not a sentence that looks like it."""
    lines = [f"D-{i}\t-0.5\t{text}\n" for i, text in enumerate(["signature: connection:evil|x", *REFERENCES[1:]])]
    (tmp_path / "generate.log").write_text(LOG.format(second) + "".join(lines))
    (tmp_path / "references").write_text("\n".join(REFERENCES) + "\n")
    cli.main(
        ["bleu", "--hypotheses", str(tmp_path / "generate.log"), "--references", str(tmp_path / "references"), *options]
    )
    assert said in capsys.readouterr().out
