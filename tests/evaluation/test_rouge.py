"""ROUGE: values counted by hand, reproducible intervals, and cases that must give an error and never a number."""

import json
from collections import Counter

import pytest

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.evaluation.generated import check_order
from b2t_fairseq.evaluation.rouge import METRICS, corpus_rouge

REFERENCES = ["police kill the gunman", "stocks fall sharply in early trading", "a new model of growth"]
HYPOTHESES = ["police killed the gunman", "stocks rise in trading", "growth of a new model"]


def f1(hypothesis: list, reference: list) -> float:
    """By hand: clipped overlap of two lists."""
    overlap = sum((Counter(hypothesis) & Counter(reference)).values())
    return 200 * overlap / (len(hypothesis) + len(reference))


def test_by_hand():
    """Stemming makes killed and kill one word; no other word of these changes but in ways both sides share."""
    sides = [[text.replace("killed", "kill").split() for text in side] for side in (HYPOTHESES, REFERENCES)]
    scores = corpus_rouge(HYPOTHESES, REFERENCES)
    assert list(scores) == list(METRICS)
    one = [f1(*pair) for pair in zip(*sides, strict=True)]
    two = [f1(*(list(zip(s, s[1:], strict=False)) for s in pair)) for pair in zip(*sides, strict=True)]
    longest = [
        100,
        200 * 3 / 10,
        200 * 3 / 10,
    ]  # all; stocks in trading; of a new model is 4 long in one, "a new model" in both
    assert scores["ROUGE-1"].score == pytest.approx(sum(one) / 3, abs=0.01)
    assert scores["ROUGE-2"].score == pytest.approx(sum(two) / 3, abs=0.01)
    assert scores["ROUGE-L"].score == pytest.approx(sum(longest) / 3, abs=0.01)


def test_the_interval_is_reproducible_and_holds_the_score():
    sides = HYPOTHESES * 20, REFERENCES * 20
    score, other = corpus_rouge(*sides)["ROUGE-1"], corpus_rouge(*sides, seed=2, samples=50)["ROUGE-1"]
    assert score == corpus_rouge(*sides)["ROUGE-1"]
    assert score.score == other.score and score.counts != other.counts
    assert score.counts["low"] < score.score < score.counts["high"] and score.counts["sentences"] == 60
    wide = corpus_rouge(HYPOTHESES, REFERENCES)["ROUGE-1"].counts
    assert wide["high"] - wide["low"] > 2 * (score.counts["high"] - score.counts["low"])
    assert "f1|stem:porter|nrefs:1|sentences:60|ci:95%|bootstrap:1000|seed:1|rouge-score:" in score.signature


def test_a_published_test_set_keeps_references_without_a_word():
    """They score 0, as in rouge-score itself, and are counted."""
    found = corpus_rouge(["a b", "c"], ["a b", "##.##"], wordless_as_zero=True)["ROUGE-1"]
    assert found.score == 50 and found.counts["references without a word"] == 1


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], ["a", "b"], "1 hypotheses for 2 references"),
        ([], [], "holds no sentence"),
        (["a", "b"], ["a", " "], "reference line 2 is empty"),
        (["a", "b"], ["a", "!!"], "reference line 2 .* no letter"),
    ],
)
def test_errors_instead_of_numbers(hypotheses, references, message):
    with pytest.raises(UserError, match=message):
        corpus_rouge(hypotheses, references)


def test_an_empty_hypothesis_scores_nothing():
    assert corpus_rouge(["", "a b"], ["a b", "a b"])["ROUGE-1"].score == 50


def generated(order) -> list[str]:
    lines = []
    for number in order:
        target = " ".join(f"▁{word}" for word in REFERENCES[number].split()).replace("▁", "")
        lines += [f"S-{number}\ttext\n", f"T-{number}\t{target}\n", f"H-{number}\t-1\tx\n"]
        lines.append(f"D-{number}\t-1\t{HYPOTHESES[number]}\n")
    return lines


def test_the_order_of_the_references_is_checked():
    check_order(generated([2, 0, 1]), REFERENCES)
    check_order(["T-0\tsomething that <unk> changed\n"], REFERENCES)
    swapped = [REFERENCES[1], REFERENCES[0], REFERENCES[2]]
    in_pieces = [f"T-{number}\t{text.lower().replace('e', 'e@@ ')}" for number, text in enumerate(REFERENCES)]
    check_order(in_pieces, REFERENCES)
    for lines in (generated([0, 1, 2]), in_pieces):
        with pytest.raises(UserError, match="sentence 0 of generate's output is line 2 of the references"):
            check_order(lines, swapped)


def test_references_of_another_test_set_are_refused():
    others = [f"sentence number {number}" for number in range(3)]
    with pytest.raises(UserError, match="3 of the 3 targets in generate's output are not among the references"):
        check_order(generated([0, 1, 2]), others)
    check_order(generated([0, 1, 2]), [*REFERENCES[:2], "one that a tokeniser has changed"])


def test_tokenisers_and_subwords_do_not_matter():
    check_order(["T-0\tDon &apos;t stop ##AT##-##AT## 5 @-@ year plan &amp; Co ."], ["Don't stop - 5-year plan & Co."])


def test_command_line(tmp_path, capsys):
    (tmp_path / "out").write_text("".join(generated([1, 2, 0])), encoding="utf-8")
    (tmp_path / "ref").write_text("".join(f"{line}\n" for line in REFERENCES))
    files = ["rouge", "--hypotheses", str(tmp_path / "out"), "--references", str(tmp_path / "ref")]
    assert cli.main([*files, "--connection", "b2t", "--json", str(tmp_path / "json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METRICS)
    assert lines[0].startswith(f"ROUGE-1 {corpus_rouge(HYPOTHESES, REFERENCES)['ROUGE-1'].score:.2f} | split:test |")
    facts = json.loads((tmp_path / "json").read_text())
    assert facts["scores"]["ROUGE-L"]["counts"]["sentences"] == 3 and facts["connection"] == "connection:b2t"
    (tmp_path / "ref").write_text("".join(f"{line}\n" for line in reversed(REFERENCES)))
    assert cli.main(files) == 2
    assert capsys.readouterr().err.startswith("error: sentence ")
