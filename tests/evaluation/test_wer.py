"""Word and character error rates: by hand, as fairseq's own scorer, and cases that must give an error and no number."""

import json
import random
from argparse import Namespace

import editdistance
import pytest
from fairseq.scoring.wer import WerScorer

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.evaluation.wer import (
    character_error_rate,
    characters,
    error_rates,
    read_recognised,
    word_error_rate,
    words,
)

SAID = ["one two three", "Four -- FIVE !", "don't stop"]
HEARD = ["one two too three", "four", "dont stop"]


def test_by_hand():
    score = word_error_rate(HEARD, SAID)
    # inserted: too; deleted: five; substituted: dont for don't; 3 + 2 + 2 words
    assert score.counts == {
        "utterances": 3,
        "reference_words": 7,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
    }
    assert score.score == round(300 / 7, 2)
    assert "level:word" in score.signature and "jiwer:" in score.signature
    assert character_error_rate(["ab d"], ["ab c"]).score == 25.0  # the space counts
    assert word_error_rate(["", "a b c d e"], ["one", "x"]).score == 300.0  # can be above 100


def test_the_apostrophe_and_punctuation_within_a_word_stay():
    assert words("Don't -- STOP , e-mail ...") == ["don't", "stop", "e-mail"]
    assert characters("A b .") == ["a", "▁", "b"]


@pytest.mark.parametrize("by_character", [False, True])
def test_equals_fairseqs_scorer(by_character):
    """Random texts with punctuation, capitals, odd spaces and empty hypotheses."""
    draw = random.Random(7)
    parts = ["one", "TWO", "don't", "--", "...", "É", "three,", "«", "a-b", "ǅ", "İx", "x y", "¿que?", "$5", "8"]

    def text(least):
        return "".join(
            draw.choice(parts) + draw.choice([" ", " ", "  ", "\u00a0"]) for _ in range(draw.randint(least, 9))
        )

    said = [f"word {text(1)}" for _ in range(200)]
    heard = [reference if draw.random() < 0.3 else text(0) for reference in said]
    options = {"wer_tokenizer": "none", "wer_remove_punct": True, "wer_lowercase": True}
    theirs = WerScorer(Namespace(**options, wer_char_level=by_character))
    for reference, hypothesis in zip(said, heard, strict=True):
        theirs.add_string(reference, hypothesis)
    ours = (character_error_rate if by_character else word_error_rate)(heard, said)
    errors = sum(ours.counts[kind] for kind in ("substitutions", "deletions", "insertions"))
    assert errors == theirs.distance > 0
    assert ours.counts["reference_characters" if by_character else "reference_words"] == theirs.ref_length
    assert ours.score == pytest.approx(theirs.score(), abs=0.005)
    assert theirs.ed is editdistance


@pytest.mark.parametrize(
    "heard, said, sentence",
    [
        (HEARD[:2], SAID, "2 hypotheses for 3 references"),
        ([], [], "no sentence"),
        (HEARD, ["a", " ", "b"], "line 2 is empty"),
        (HEARD, ["a", "b", "... !"], "line 3 holds nothing but punctuation"),
    ],
)
def test_no_number_without_a_complete_test_set(heard, said, sentence):
    for rate in (word_error_rate, character_error_rate):
        with pytest.raises(UserError, match=sentence):
            rate(heard, said)


def generated(said, heard):
    """fairseq-generate's output, longest first; the reference in pieces."""
    for number in sorted(range(len(said)), key=lambda n: -len(said[n])):
        yield f"T-{number}\t" + " ".join("▁" + word for word in said[number].split())
        yield f"H-{number}\t-0.1\t▁pieces"
        yield f"D-{number}\t-0.1\t{heard[number]}"


def test_generate_output_is_put_in_order_and_checked_against_its_references():
    assert read_recognised(generated(SAID, HEARD), SAID) == HEARD
    with pytest.raises(UserError, match="another order"):
        read_recognised(generated(SAID, HEARD), [SAID[1], SAID[0], SAID[2]])
    with pytest.raises(UserError, match="more than once"):
        read_recognised([*generated(SAID, HEARD), *generated(SAID, HEARD)], SAID)
    with pytest.raises(UserError, match="lacks 1 of 3"):
        read_recognised((line for line in generated(SAID, HEARD) if "-1\t" not in line), SAID)


def test_command_line(tmp_path, capsys):
    (tmp_path / "gen.out").write_text("\n".join(generated(SAID, HEARD)) + "\n", encoding="utf-8")
    rows = "".join(f"u{n}\tx\t9\t{text}\n" for n, text in enumerate(SAID))
    (tmp_path / "test.tsv").write_text("id\taudio\tn_frames\ttgt_text\n" + rows, encoding="utf-8")
    arguments = ["--hypotheses", str(tmp_path / "gen.out"), "--references", str(tmp_path / "test.tsv")]
    assert cli.main(["wer", *arguments, "--split", "other", "--json", str(tmp_path / "score.json")]) == 0
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first.startswith("WER 42.86 | split:other | checkpoint:unknown | connection:unknown | [1 sub")
    assert (
        "[1 substitutions + 1 deletions + 1 insertions in 7 words] level:word|case:lower" in first
        and second.startswith("CER ")
    )
    facts = json.loads((tmp_path / "score.json").read_text())
    assert facts["scores"]["WER"]["counts"]["deletions"] == 1 and facts["split"] == "other"
    (tmp_path / "short.txt").write_text("one\n")
    arguments = ["--plain", "--hypotheses", str(tmp_path / "short.txt"), "--references", str(tmp_path / "test.tsv")]
    assert cli.main(["wer", *arguments]) == 2
    assert "1 hypotheses for 3 references" in capsys.readouterr().err


def test_both_rates_together():
    assert list(error_rates(HEARD, SAID)) == ["WER", "CER"]
