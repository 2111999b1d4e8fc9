"""The findings: each verdict, and that each of its rules can fail."""

from collections.abc import Sequence

import pytest

from b2t_fairseq.experiments.findings import find_all, has_flattened, sign_test, wanted_pairs

FLAT = [[100, 5.0], [600, 3.01], [800, 3.0], [1000, 2.99]]
FALLING = [[100, 5.0], [800, 3.0], [1000, 2.9]]
FAILURE = "training failed: after 1000 updates the loss is 8.00 bits"


def cell(connection: str, score: float | None, seed: int = 1, **changes) -> dict:
    task = changes.get("task", "mt")
    metric = {"mt": "BLEU", "lm": "ppl", "summarization": "ROUGE-1", "asr": "WER"}[task]
    row = {"task": task, "corpus": "embedded", "recipe": "quickstart", "updates": 1000, "layers": "6-6"}
    row |= {"connection": connection, "seed": seed, "failure": None, "curve": {"valid": FLAT}}
    row["scores"] = {} if score is None else {"test": {metric: {"score": score, "signature": "s"}}}
    row["fingerprint"] = f"{connection}-{seed}"
    return row | changes


def sides(
    name: str, scores: Sequence[float | None], other: str, others: Sequence[float | None], **changes
) -> list[dict]:
    rows = [cell(name, score, seed, **changes) for seed, score in enumerate(scores, 1)]
    return rows + [cell(other, score, seed, **changes) for seed, score in enumerate(others, 1)]


def verdict(rows: Sequence[dict], p: float | None = 0.01, number: int | None = None) -> str:
    found = [f for f in find_all(rows, lambda *pair: p) if number in (None, f.number)]
    assert len(found) == 1
    return found[0].verdict


def test_quality_holds_if_ahead_in_every_seed_and_significant():
    rows = sides("post", [30, 31, 32], "pre", [29, 29, 29])
    assert verdict(rows) == "holds"
    assert verdict(rows, p=0.2) == "not enough data"
    assert verdict(sides("post", [30, 31, 28], "pre", [29, 29, 29])) == "not enough data"
    assert verdict(sides("post", [28, 31, 27], "pre", [29, 29, 29])) == "does not hold"
    assert verdict(sides("post", [30], "pre", [29])) == "not enough data"


def test_quality_needs_a_loss_that_has_flattened():
    rows = sides("post", [30, 31, 32], "pre", [29, 29, 29])
    rows[-1]["curve"] = {"valid": FALLING}
    found = find_all(rows, lambda *pair: 0.01)[0]
    assert found.verdict == "not trained long enough" and "still falls in 1 of 6 cells" in found.explanation


def test_a_language_model_needs_three_seeds_and_less_is_better():
    changes = {"task": "lm", "layers": "6"}
    assert verdict(sides("post", [20.0, 20.1, 20.2], "pre", [21, 21, 21], **changes), p=None) == "holds"
    assert verdict(sides("post", [20.0, 20.1], "pre", [21, 21], **changes), p=None) == "not enough data"
    assert verdict(sides("post", [20.9, 18, 15], "pre", [21, 21, 21], **changes), p=None) == "holds"
    assert verdict(sides("post", [20.99, 20.99, 15], "pre", [21, 21, 21], **changes), p=None) == "not enough data"
    assert verdict(sides("post", [22, 22, 22], "pre", [21, 21, 21], **changes), p=None) == "does not hold"


def test_a_seed_in_which_post_fails_does_not_speak_to_the_first_finding():
    rows = sides("post", [30, 31, 0.1], "pre", [29, 29, 29])
    rows[2]["failure"] = FAILURE
    found = find_all(rows, lambda *pair: 0.01)[0]
    assert found.verdict == "holds" and found.holds_in == 2 and "failed in seed 3" in found.explanation


@pytest.mark.parametrize("score", [None, 0.1])  # diverged, or nothing learned
def test_a_failure_of_b2t_speaks_against_the_third_finding(score):
    rows = sides("b2t", [30, 31, score], "pre", [29, 29, 29], layers="18-18")
    rows[2]["failure"] = FAILURE
    found = find_all(rows, lambda *pair: 0.01)[0]
    assert found.verdict == "does not hold" and found.holds_in == 2
    assert "The training of b2t failed in seed 3" in found.explanation
    rows[5]["failure"] = FAILURE  # Pre-LN's, too: the seed says nothing
    assert verdict(rows) == "holds"
    assert verdict([rows[2], rows[4] | {"seed": 3}]) == "does not hold"  # without any pair that trained


@pytest.mark.parametrize("score", [None, 0.1])
def test_a_failure_of_the_other_side_is_named_and_not_counted(score):
    rows = sides("b2t", [30, 31, 30], "pre", [29, 29, score], layers="18-18")
    rows[5]["failure"] = FAILURE
    found = find_all(rows, lambda *pair: 0.01)[0]
    assert found.verdict == "holds" and found.holds_in == 2
    assert "The training of pre failed in seed 3" in found.explanation


def test_stability_holds_if_post_fails_and_b2t_does_not():
    rows = sides("b2t", [30, 30], "post", [0.1, 0.1], layers="18-18")
    for row in rows[2:]:
        row["failure"] = FAILURE
    assert verdict(rows, number=2) == "holds"
    rows[3]["failure"] = None
    assert verdict(rows, number=2) == "does not hold"
    rows[3]["failure"] = rows[1]["failure"] = FAILURE
    assert verdict(rows, number=2) == "does not hold"
    assert verdict([rows[1], rows[3]], number=2) == "does not hold" and verdict([rows[0], rows[2]], number=2) == "holds"


def test_stability_says_how_little_was_learned():
    rows = sides("b2t", [30, 32], "post", [0.1, 0.3], layers="18-18", unigram=7.941)
    (found,) = [f for f in find_all(rows, lambda *pair: 0.01) if f.number == 2]
    assert "Post-LN failed in 0 of 2 seeds, B2T in 0" in found.explanation
    assert "B2T 2.99 ± 0.00, Post-LN 2.99 ± 0.00 (words by their frequency: 7.94)" in found.explanation
    assert "BLEU test: B2T 31.00 ± 1.41, Post-LN 0.20 ± 0.14" in found.explanation
    (found,) = [f for f in find_all(sides("b2t", [30], "post", [None], layers="18-18"), None) if f.number == 2]
    assert "BLEU" not in found.explanation and "by their frequency" not in found.explanation


def test_groups_do_not_mix():
    rows = sides("b2t", [30, 31], "pre", [29, 29], layers="18-18")
    rows += sides("b2t", [20, 21], "pre", [29, 29], layers="60-12")
    rows += sides("b2t", [20, 21], "pre", [29, 29], layers="18-18", updates=999)
    rows += [
        cell("b2t", 50, 1, layers="18-18", recipe="quickstart+lr=1"),
        cell("b2t", 50, 1, corpus="x", layers="18-18"),
    ]
    found = find_all(rows, lambda *pair: 0.01)
    named = {(f.layers, f.updates): f.verdict for f in found}
    assert named == {
        ("18-18", 1000): "holds",
        ("60-12", 1000): "does not hold",
        ("18-18", 999): "does not hold",
    }


def test_a_pair_is_of_one_seed():
    assert find_all([cell("post", 30, 1), cell("pre", 29, 2)], lambda *pair: 0.01) == []


@pytest.mark.parametrize(
    "curve, flat",
    [
        (FLAT, True),
        (FALLING, False),
        ([[400, 3.0], [800, 2.5], [1000, 4.0]], True),  # it rises again
        ([[400, 3.0], [800, 3.0]], False),  # nothing is known of the last fifth
        ([[900, 3.0], [1000, 3.0]], False),  # nor of what was before
        ([[800, 3.0], [1000, None]], False),
        ([], False),
        ([[800, 100.0], [1000, 99.01]], True),
        ([[800, 100.0], [1000, 98.99]], False),
    ],
)
def test_when_a_loss_has_flattened(curve, flat):
    assert has_flattened(cell("pre", 1, curve={"valid": curve})) == flat


def test_the_sign_test_is_two_sided():
    assert sign_test(3, 3) == sign_test(0, 3) == 0.25 and sign_test(2, 4) == 1.0 and sign_test(6, 6) == 2 / 64


def test_which_pairs_are_tested():
    rows = sides("post", [30, 31], "pre", [29, 29]) + sides("b2t", [30], "pre", [29], layers="18-18")
    rows[1]["failure"] = FAILURE
    names = [(ours["connection"], ours["seed"], ours["layers"]) for ours, _ in wanted_pairs(rows)]
    assert names == [("post", 1, "6-6"), ("b2t", 1, "18-18")]


def test_depths_that_are_in_no_table_decide_nothing():
    """At 12-12 layers Post-LN trains in the paper, too (Figure 8)."""
    assert find_all(sides("b2t", [30, 30], "post", [29, 29], layers="12-12"), lambda *pair: 0.01) == []


def test_all_test_sets_count_and_validation_sets_do_not():
    rows = sides("post", [30, 31, 32], "pre", [29, 29, 29])
    for row in rows:
        name = "post" if row["connection"] == "post" else "pre"
        row["scores"]["newstest"] = {"BLEU": {"score": {"post": 20.0, "pre": 25.0}[name], "signature": "s"}}
        row["scores"]["valid"] = {"BLEU": {"score": {"post": 90.0, "pre": 10.0}[name], "signature": "s"}}
    found = find_all(rows, lambda *pair: 0.01)[0]
    assert found.verdict == "does not hold" and "BLEU test, newstest: post 25.50" in found.explanation


def test_a_lead_must_be_larger_than_its_spread_over_seeds():
    assert verdict(sides("post", [30.0, 30.1, 40.0], "pre", [29.9, 30.0, 30.1])) == "not enough data"


def test_a_score_that_is_not_finite_decides_nothing():
    rows = sides("b2t", [20.0, None, 21.0], "pre", [22.0, 23.0, 22.0], task="lm", layers="16")
    rows[1]["scores"] = {"test": {"ppl": {"score": None, "signature": "s"}}}
    (found,) = find_all(rows, lambda *pair: None)
    assert "ahead in 2 of 2 seeds" in found.explanation


def test_a_task_that_is_not_known_is_left_out():
    assert find_all([{**row, "task": "vision"} for row in sides("post", [30], "pre", [29])], lambda *pair: 0.01) == []


def test_a_paired_test_that_was_not_made_is_said():
    rows = sides("post", [30, 31], "pre", [29, 29])
    (found,) = find_all(rows, lambda first, *_: 0.01 if first.endswith("1") else None)
    assert "paired test p = 0.010, not made" in found.explanation and found.verdict == "not enough data"
