"""What scores take for a line, and hypotheses that are not text yet: the right number or none."""

import json
import time

import pytest

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.evaluation.generated import read_generate_output
from b2t_fairseq.evaluation.perplexity import Evaluation, corpus_perplexity, read_eval_lm
from b2t_fairseq.evaluation.text import read_lines, read_lines_as_fairseq, refuse_unjoined

REFERENCES = [
    "Ein Mann steht .",
    "Zwei Hunde laufen im Schnee .",
    "Ein Kind spielt im Garten .",
    "Die Frau liest ein Buch .",
]
HYPOTHESES = [
    "Ein Mann steht .",
    "Zwei Hunde rennen im Schnee .",
    "Ein Kind spielt im Park .",
    "Die Frau liest ein Buch .",
]
EXPECTED = {"bleu": {"BLEU": 69.05}, "wer": {"WER": 11.11}, "rouge": {"ROUGE-L": 90.0}}
BOM = "\ufeff"


def scores(metric, hypotheses: str, references: str, folder, *options: str) -> dict[str, float]:
    """The metric's scores of two files with just these characters."""
    for name, text in (("hyp", hypotheses), ("ref", references)):
        (folder / name).write_bytes(text.encode("utf-8"))
    where = ["--hypotheses", str(folder / "hyp"), "--references", str(folder / "ref"), "--json", str(folder / "json")]
    assert cli.main([metric, *where, *options]) == 0
    found = json.loads((folder / "json").read_text())
    found = found.get("scores", {found.get("metric"): found})
    return {name: entry["score"] for name, entry in found.items()}


@pytest.mark.parametrize("metric", EXPECTED)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: BOM + text,
        lambda text: text.replace("Ein Mann", "Ein\rMann").replace("Frau liest", "Frau\rliest"),
        lambda text: text.removesuffix("\n"),
    ],
    ids=["plain", "CRLF", "BOM", "CR inside", "no last line feed"],
)
@pytest.mark.parametrize("side", ["hypotheses", "references", "both"])
def test_scores_do_not_depend_on_how_lines_are_written(metric, change, side, tmp_path):
    hypotheses, references = ("".join(f"{line}\n" for line in lines) for lines in (HYPOTHESES, REFERENCES))
    hypotheses = change(hypotheses) if side != "references" else hypotheses
    references = change(references) if side != "hypotheses" else references
    found = scores(metric, hypotheses, references, tmp_path, "--plain")
    for name, score in EXPECTED[metric].items():
        assert found[name] == pytest.approx(score, abs=0.005)


def test_what_a_line_is(tmp_path):
    path = tmp_path / "text"
    path.write_bytes((BOM + "a\u2028b\rc\r\nd\n\ne").encode())
    assert read_lines(path) == ["a\u2028b c", "d", "", "e"]
    assert read_lines_as_fairseq(path) == ["a\u2028b", "c", "d", "", "e"]
    path.write_bytes(b"")
    assert read_lines(path) == []
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match="not valid UTF-8 .byte 3."):
        read_lines(path)


@pytest.mark.parametrize("metric", EXPECTED)
@pytest.mark.parametrize(
    "subwords, option", [("Ein Ma@@ nn steht .", "subword_nmt"), ("▁Ein ▁Ma nn ▁steht ▁.", "sentencepiece")]
)
@pytest.mark.parametrize("plain", [True, False])
def test_subwords_are_not_scored(metric, subwords, option, plain, tmp_path, capsys):
    lines = subwords if plain else f"T-0\t{subwords}\nH-0\t-0.5\t{subwords}\nD-0\t-0.5\t{subwords}"
    (tmp_path / "hyp").write_text(f"{lines}\n")
    (tmp_path / "ref").write_text("Ein Mann steht .\n")
    where = ["--hypotheses", str(tmp_path / "hyp"), "--references", str(tmp_path / "ref")]
    assert cli.main([metric, *where, *(["--plain"] if plain else [])]) == 2
    error = capsys.readouterr().err
    # wer compares generate's targets with the references before, and these differ where they are not joined
    assert error.startswith("error: ") and error.count("\n") == 1
    assert f"--post-process {option}" in error or (metric == "wer" and not plain and "@@" in subwords)


@pytest.mark.parametrize("text", ["a@@b c", "user@example.org", "@@ alone", "price @ 5"])
def test_what_only_looks_like_subwords_is_scored(text):
    refuse_unjoined([text], ["a b c"], "BLEU")


def test_references_that_hold_the_marks_allow_them():
    refuse_unjoined(["x@@ y"], ["x@@ y"], "BLEU")


def test_a_huge_sentence_number_is_one_line_at_once():
    began = time.monotonic()
    with pytest.raises(UserError, match="lacks 99,999,999,999 of 100,000,000,000 sentences, the first is number 0"):
        read_generate_output(["H-99999999999\t-1\ta"])
    with pytest.raises(UserError, match="lacks 98 of 100 sentences, the first is number 1"):
        read_generate_output(["H-0\t-1\ta", "H-99\t-1\ta"])
    with pytest.raises(UserError, match="a sentence number of 5000 digits"):
        read_generate_output([f"H-{'9' * 5000}\t-1\ta"])
    assert time.monotonic() - began < 2


CONFIGURATION = "{{'post_process': {post}, 'tokens_per_sample': 64, 'add_bos_token': {bos}, 'context_window': 32}}"
LOG = f"""2026 | INFO | {CONFIGURATION}
Evaluated 7 tokens in 0.1s
Loss (base 2): 6.7052, Perplexity: 104.34"""
TEXT = ["Ein Ma@@ nn steht", "ja"]


def evaluated(post: str = "None", bos: str = "False") -> Evaluation:
    return read_eval_lm(LOG.format(post=post, bos=bos).splitlines())


def test_a_loss_per_joined_word_is_no_perplexity_per_token():
    assert corpus_perplexity(evaluated(), TEXT)["ppl"].score == 104.34
    # stock compares a symbol's end with the name itself, so this changes nothing
    assert corpus_perplexity(evaluated("'subword_nmt'"), TEXT)["ppl"].score == 104.34
    assert corpus_perplexity(evaluated("'@@ '"), ["Ein Mann steht da", "ja"])["ppl"].score == 104.34
    with pytest.raises(UserError, match="--post-process '@@ ', so its loss is one for each joined word"):
        corpus_perplexity(evaluated("'@@ '"), TEXT)


def test_added_tokens_are_refused_by_the_options_name():
    with pytest.raises(UserError, match="--add-bos-token"):
        evaluated(bos="True")
