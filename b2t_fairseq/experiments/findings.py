"""The paper's three findings, decided on rows.

    1  Where Post-LN trains, it beats Pre-LN.          the task's shallow depth; quality
    2  B2T trains where Post-LN fails.                 the deep depths
    3  B2T beats Pre-LN at depth.                      the deep depths; quality

A pair is two cells of one corpus, recipe, number of updates, depth and seed. The rules are in `RULES`, which the report
prints; nothing here is tuned until a finding holds.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .published import get_target
from .rows import Row

FLAT = 0.01  # of the best loss
TAIL = 0.2  # of the updates
ALPHA = 0.05
HOLDS, FAILS = "holds", "does not hold"
VALIDATION = ("valid", "dev")  # how the names of test sets begin that are not for testing
TOO_FEW, TOO_SHORT = "not enough data", "not trained long enough"
#: metrics of which less is better; of all others more
LOWER_IS_BETTER = ("ppl", "WER", "CER")
#: task -> the depths of its table in the paper, the shallow one first
DEPTHS = {
    target.task: list(dict.fromkeys(layers for _, layers in target.models()))
    for target in map(get_target, ("table1", "table2", "table3", "table4"))
}
TITLES = {
    1: "1. Where Post-LN trains, it beats Pre-LN",
    2: "2. B2T trains where Post-LN fails",
    3: "3. B2T beats Pre-LN at depth",
}
RULES = (
    "Findings 1 and 3 are about quality: the first metric's mean over the test sets. They are decided only if the "
    "validation loss of all their cells has flattened: less than 1 % better over the last fifth of the updates (a "
    "loss that rises again has flattened). Otherwise the verdict is *not trained long enough*: who is ahead in mid-"
    "training tells speed. A finding about quality holds if the method is ahead in each of at least two seeds, by "
    "more on average than the standard deviation of that lead over seeds, and a paired test on each test set "
    "(bootstrap over sentences) has p < 0.05 in more than half of the seeds; a language model has no such test and "
    "needs three seeds. It does not hold if the method is behind on average. In between there is *not enough data*. "
    "Seeds in which Post-LN fails do not speak to finding 1; finding 3 does not hold if B2T fails in a seed in which "
    "Pre-LN trains. Finding 2 holds if, in each seed that has both cells, Post-LN has failed (diverged, or ended "
    "within 0.5 bits of the unigram level) and B2T has not: one pair decides. The sign test's p is two-sided: with "
    "three seeds it cannot be below 0.25."
)
#: (fingerprint, fingerprint, test) -> p of the paired test; None if it was not made
Paired = Callable[[str, str, str], float | None]


@dataclass(frozen=True)
class Finding:
    """What one group of cells says about a finding.

    Attributes:
        number: 1, 2 or 3.
        task, corpus, recipe, updates, layers: the cells.
        verdict: "holds", "does not hold", "not enough data" or "not trained long enough".
        explanation: the figures that the verdict rests on, in a sentence or two.
        seeds: of the pairs.
        holds_in: in how many of them it holds.
    """

    number: int
    task: str
    corpus: str
    recipe: str
    updates: int | None
    layers: str
    verdict: str
    explanation: str
    seeds: tuple[int, ...]
    holds_in: int

    @property
    def title(self) -> str:
        """Return the finding in words."""
        return TITLES[self.number]


def find_all(rows: Iterable[Row], paired: Paired) -> list[Finding]:
    """Return all findings that the rows speak to, by number, task and group.

    Args:
        rows: of one scale.
        paired: returns p of the paired test between two cells.
    """
    groups: dict[tuple, dict[tuple[str, int], Row]] = {}
    for row in rows:
        if "+" not in row["recipe"]:  # a training that varies the recipe on purpose
            group = row["task"], row["corpus"], row["recipe"], row["updates"], row["layers"]
            groups.setdefault(group, {})[row["connection"], row["seed"]] = row
    found = []
    for group, cells in groups.items():
        task, layers = group[0], group[-1]
        if layers not in DEPTHS.get(task, ()):
            continue
        is_shallow = layers == DEPTHS[task][0]
        sides = {1: ("post", "pre")} if is_shallow else {2: ("b2t", "post"), 3: ("b2t", "pre")}
        for number, (ours, theirs) in sides.items():
            seeds = sorted({seed for _, seed in cells if (ours, seed) in cells and (theirs, seed) in cells})
            pairs = [(cells[ours, seed], cells[theirs, seed]) for seed in seeds]
            if pairs:
                decide = stability if number == 2 else quality
                verdict, explanation, holds_in = decide(pairs, paired)
                found.append(Finding(number, *group, verdict, explanation, tuple(seeds), holds_in))
    return sorted(
        found, key=lambda f: (f.number, list(DEPTHS).index(f.task), f.corpus != "embedded", f.corpus, f.layers)
    )


def has_flattened(row: Row) -> bool:
    """Return whether the validation loss was less than 1 % better over the last fifth of the updates (`RULES`)."""
    curve = [(update, value) for update, value in row["curve"].get("valid", []) if value is not None]
    if not curve:
        return False
    last = row["updates"] or curve[-1][0]
    early = [value for update, value in curve if update <= (1 - TAIL) * last]
    if not early or curve[-1][0] <= (1 - TAIL) * last:
        return False
    return min(early) - min(value for _, value in curve) < FLAT * min(early)


def main_score(row: Row) -> tuple[list[str], str, float] | None:
    """Return test sets, metric and value of the score that decides: the first metric's mean over the test sets.

    None where a score is missing or not finite.
    """
    tests = [test for test in row["scores"] if not test.startswith(VALIDATION)] or list(row["scores"])
    if not tests:
        return None
    metric = next(iter(row["scores"][tests[0]]))
    scores = [row["scores"][test].get(metric, {}).get("score") for test in tests]
    return None if None in scores else (tests, metric, statistics.mean(scores))


def stability(pairs: Sequence[tuple[Row, Row]], _: Paired) -> tuple[str, str, int]:
    """Decide finding 2 on (b2t, post) pairs: verdict, explanation, in how many seeds it holds."""
    holds = sum(b2t["failure"] is None and post["failure"] is not None for b2t, post in pairs)
    trained = sum(post["failure"] is None for _, post in pairs)
    failed = sum(b2t["failure"] is not None for b2t, _ in pairs)
    parts = [f"Post-LN failed in {len(pairs) - trained} of {seeds_of(pairs)}, B2T in {failed}"]
    levels = sorted({f"{row['unigram']:.2f}" for pair in pairs for row in pair if row.get("unigram") is not None})
    level = f" (words by their frequency: {' or '.join(levels)})" if levels else ""
    of_b2t, of_post = (spread(losses(pairs, side)) for side in (0, 1))
    parts.append(f"best validation loss in bits: B2T {of_b2t}, Post-LN {of_post}{level}")
    scores = [[score for pair in pairs if (score := main_score(pair[side])) is not None] for side in (0, 1)]
    if all(scores):
        tests, metric, _ = scores[0][0]
        of_b2t, of_post = (spread([value for _, _, value in side]) for side in scores)
        parts.append(f"{metric} {', '.join(tests)}: B2T {of_b2t}, Post-LN {of_post}")
    if trained or failed:
        return FAILS, sentences(parts), holds
    return HOLDS, sentences(parts), holds


def quality(pairs: Sequence[tuple[Row, Row]], paired: Paired) -> tuple[str, str, int]:
    """Decide findings 1 and 3 on (ours, theirs) pairs: verdict, explanation, in how many seeds it holds."""
    names = [row["connection"] for row in pairs[0]]
    # a training that diverged has no score, one that has learned nothing has one: both count as failed
    failed = [[pair[side]["seed"] for pair in pairs if pair[side]["failure"]] for side in (0, 1)]
    sound = [pair for pair in pairs if pair[0]["seed"] not in {*failed[0], *failed[1]} and all(map(main_score, pair))]
    parts = [
        f"the training of {name} failed in seed {', '.join(map(str, seeds))}"
        for name, seeds in zip(names, failed, strict=True)
        if seeds
    ]
    # finding 1 is about trainings of Post-LN that succeed; B2T's must succeed wherever Pre-LN's does
    is_lost = names[0] != "post" and bool(set(failed[0]) - set(failed[1]))
    if not sound:
        return FAILS if is_lost else TOO_FEW, sentences([*parts, "no pair of trained cells"]), 0
    tests, metric, _ = main_score(sound[0][0]) or ([], "", 0.0)
    scores = [[(main_score(row) or ([], "", math.nan))[2] for row in pair] for pair in sound]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    gains = [sign * (ours - theirs) for ours, theirs in scores]
    ahead = sum(gain > 0 for gain in gains)
    sides = [spread([pair[side] for pair in scores]) for side in (0, 1)]
    compared = ", ".join(f"{name} {side}" for name, side in zip(names, sides, strict=True))
    parts.append(f"{metric} {', '.join(tests)}: {compared}, ahead in {ahead} of {seeds_of(sound)}")
    chances = [[paired(ours["fingerprint"], theirs["fingerprint"], test) for test in tests] for ours, theirs in sound]
    tested = [p for row in chances for p in row if p is not None]
    clear = [all(p is not None and p < ALPHA for p in row) for row in chances]
    if tested:
        shown = ", ".join("not made" if p is None else f"{p:.3f}" for row in chances for p in row)
        parts.append(f"paired test p = {shown}; sign test p = {sign_test(ahead, len(sound)):.2f}")
    if is_lost:
        return FAILS, sentences(parts), ahead
    if not all(has_flattened(row) for pair in sound for row in pair):
        still = [row for pair in sound for row in pair if not has_flattened(row)]
        parts.append(f"the validation loss still falls in {len(still)} of {2 * len(sound)} cells, so this tells speed")
        return TOO_SHORT, sentences(parts), ahead
    mean = statistics.mean(gains)
    if mean <= 0 and len(sound) > 1:
        return FAILS, sentences(parts), ahead
    is_sure = len(sound) >= (2 if tested else 3) and ahead == len(sound) and mean > statistics.stdev(gains)
    if tested:
        is_sure = is_sure and sum(clear) > len(sound) / 2
    return HOLDS if is_sure else TOO_FEW, sentences(parts), ahead


def losses(pairs: Sequence[tuple[Row, Row]], side: int) -> list[float]:
    """Return the best validation loss of one side of each pair."""
    curves = [[value for _, value in pair[side]["curve"].get("valid", []) if value is not None] for pair in pairs]
    return [min(curve) for curve in curves if curve]


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation."""
    if not values:
        return "unknown"
    text = f"{statistics.mean(values):.2f}"
    return f"{text} ± {statistics.stdev(values):.2f}" if len(values) > 1 else text


def seeds_of(pairs: Sequence[Any]) -> str:
    """Return the number of seeds in words."""
    return f"{len(pairs)} seed{'s' * (len(pairs) > 1)}"


def sentences(parts: Sequence[str]) -> str:
    """Join parts to a text."""
    return "; ".join(part[0].upper() + part[1:] if k == 0 else part for k, part in enumerate(parts)) + "."


def sign_test(ahead: int, seeds: int) -> float:
    """Return the two-sided p of a sign test: of `seeds` fair coins, as many heads as `ahead` or a rarer count."""
    rare = min(ahead, seeds - ahead)
    return min(1.0, 2 * sum(math.comb(seeds, k) for k in range(rare + 1)) / 2**seeds)


def wanted_pairs(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Return the pairs of cells that a paired test is made for: those of findings 1 and 3, where both have trained."""
    by_cell: Mapping[tuple, Row] = {
        (row["task"], row["corpus"], row["recipe"], row["updates"], row["layers"], row["seed"], row["connection"]): row
        for row in rows
        if row["failure"] is None
    }
    pairs = []
    for key, row in by_cell.items():
        ours = "post" if row["layers"] == DEPTHS[row["task"]][0] else "b2t"
        if row["connection"] == ours and (other := by_cell.get((*key[:-1], "pre"))) is not None:
            pairs.append((row, other))
    return pairs
