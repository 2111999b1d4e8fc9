"""Two sides that take turns, and the ratio of what they take."""

import contextlib
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from .sides import Conditions, Side, start


def rate(measured: dict) -> float:
    """Return tokens a second, or, where there are none, runs a second; where calls are counted, runs a call."""
    if "calls" in measured:
        return 1 / measured["calls"]
    return measured.get("tokens", 1) / measured["seconds"]


@dataclass
class Comparison:
    """Paired measurements: the i-th of ours was taken next to the i-th of the baseline.

    Attributes:
        ours: measurements of our side.
        baseline: measurements of what it is compared with.
        facts: of ours and of the baseline.
    """

    ours: list[dict]
    baseline: list[dict]
    facts: tuple[dict, dict] = ({}, {})

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours was, pair by pair."""
        return [rate(a) / rate(b) for a, b in zip(self.ours, self.baseline, strict=True)]

    @property
    def identical(self) -> bool | None:
        """Whether all hypotheses were the same in all measurements; None if nothing was decoded."""
        hashes = {m.get("hypotheses") for m in (*self.ours, *self.baseline)}
        return None if None in hashes else len(hashes) == 1

    @property
    def score_difference(self) -> float | None:
        """Largest difference of two hypotheses' scores; None if they are not the same hypotheses."""
        if not self.identical:
            return None
        pairs = zip(self.ours[0]["scores"], self.baseline[0]["scores"], strict=True)
        return max(abs(a - b) for a, b in pairs)

    def summary(self) -> dict:
        """Return what the table and the JSON show."""
        summary = {
            "pairs": len(self.ours),
            "ratio": statistics.median(self.ratios),
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "identical_hypotheses": self.identical,
            "score_difference": self.score_difference,
        }
        for name, measured, facts in zip(("ours", "baseline"), (self.ours, self.baseline), self.facts, strict=True):
            median = lambda key, of=measured: statistics.median(m[key] for m in of)  # noqa: E731
            summary[name] = {
                **facts,
                "seconds": median("seconds"),
                "peak_mb": max(m["peak_mb"] for m in measured),
                "all_seconds": [m["seconds"] for m in measured],
            }
            for key in ("tokens", "gflops", "loss", "calls"):
                if key in measured[0]:
                    summary[name][key] = median(key)
            if "tokens" in measured[0]:
                summary[name]["tokens_per_second"] = statistics.median(map(rate, measured))
            for key in ("lengths", "hypotheses"):
                if key in measured[0]:
                    summary[name][key] = measured[0][key]
        summary["peak_ratio"] = summary["ours"]["peak_mb"] / max(summary["baseline"]["peak_mb"], 1e-9)
        return summary


def compare(
    ours: Side,
    baseline: Side,
    repeats: int = 7,
    warmup: int = 3,
    threads: int = 1,
    device: str = "cpu",
    after_each: Callable[[], None] = lambda: None,
) -> Comparison:
    """Measure two sides in turns: A B, B A, A B, ...

    Args:
        ours: one side.
        baseline: the other; its process is started first.
        repeats: number of pairs.
        warmup: measurements of each side before, which do not count; in its first steps a process gets its memory.
        threads: of each side; the other waits meanwhile.
        device: "cpu" or "cuda".
        after_each: called after each measurement, for a progress bar.

    Raises:
        SideFailed: a side's process died.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="b2t-benchmark-"))
        running = []
        for side in (baseline, ours):
            running.append(start(side, Conditions(threads, device, folder)))
            stack.callback(running[-1].close)
        measured: tuple[list, list] = ([], [])
        for turn in range(warmup + repeats):
            for place in (0, 1) if turn % 2 else (1, 0):
                measured[place].append(running[place].measure())
                after_each()
        facts = running[1].facts, running[0].facts
    return Comparison(measured[1][warmup:], measured[0][warmup:], facts)


def best_speed(products: Side, threads: int, device: str, repeats: int = 3) -> float:
    """Return GFLOP/s of the best of some matrix products, alone."""
    with tempfile.TemporaryDirectory(prefix="b2t-benchmark-") as folder:
        running = start(products, Conditions(threads, device, folder))
        try:
            return max(running.measure()["gflops"] for _ in range(repeats))
        finally:
            running.close()
