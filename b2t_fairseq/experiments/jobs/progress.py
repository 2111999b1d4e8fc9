"""What the user sees while children work: bars on a terminal, lines elsewhere; and fairseq's log read as numbers."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


class Display:
    """One tqdm bar per running command, or, if stderr is not a terminal, one line per command every ten seconds."""

    def __init__(self, bars: bool | None = None):
        self.bars = sys.stderr.isatty() if bars is None else bars
        self.open_bars: dict[str, tqdm] = {}
        self.spoken: dict[str, float] = {}
        self.began: dict[str, float] = {}
        self.totals: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        tqdm.write(text, file=sys.stderr)

    def open(self, label: str, total: int) -> None:
        """Announce a command."""
        self.began[label] = self.spoken[label] = time.monotonic()
        self.totals[label] = total
        if self.bars:
            self.open_bars[label] = tqdm(
                total=total,
                desc=label,
                leave=False,
                bar_format="{desc:<22} {bar} {n_fmt}/{total_fmt} {elapsed} {postfix}",
            )

    def update(self, label: str, done: int | None, remark: str) -> None:
        """Show progress: `done` is the count so far, None if there is nothing new."""
        if self.bars:
            bar = self.open_bars[label]
            if done is not None:
                bar.n = min(done, self.totals[label])
                bar.set_postfix_str(remark, refresh=False)
            bar.refresh()
            return
        now = time.monotonic()
        if now - self.spoken[label] >= SECONDS_BETWEEN_LINES:
            self.spoken[label] = now
            counted = f"{done or 0}/{self.totals[label]} " if self.totals[label] > 1 else ""
            self.say(f"{label}: {counted}after {now - self.began[label]:.0f} s {remark}".rstrip())

    def done(self, label: str, text: str) -> None:
        """End a command's bar with a line that stays."""
        if label in self.open_bars:
            self.open_bars.pop(label).close()
        self.say(text)

    def close(self) -> None:
        """Remove what is left of the bars."""
        while self.open_bars:
            self.open_bars.popitem()[1].close()


@dataclass
class History:
    """The curves of one training, read from fairseq's log; updates repeated after a resume count once, the later one.

    Attributes:
        train: update -> label-free negative log-likelihood per token in bits, averaged over the log interval.
        valid: the same on the validation set.
        parameters: the number of trained parameters.
        seconds: how long the training ran, over all its starts, by the times before the lines; fairseq's own `wall`
            stays at 0 after a resume.
    """

    train: dict[int, float] = field(default_factory=dict)
    valid: dict[int, float] = field(default_factory=dict)
    parameters: int | None = None
    updates: int | None = None
    remark: str = ""
    seconds: float = 0.0
    clock: datetime | None = None  # up to which the seconds are counted

    def read(self, lines: Iterable[str]) -> "History":
        """Add the log's lines: `… | INFO | train_inner | {"num_updates": "10", "nll_loss": "9.1", …}`."""
        for line in lines:
            _, brace, body = line.partition("{")
            if not brace or not line.rstrip().endswith("}"):
                if "num. shared model params:" in line:  # once in each start
                    self.clock = logged_at(line)
                    self.parameters = int(line.rpartition("num. trained: ")[2].rstrip(")\n ").replace(",", ""))
                continue
            try:
                facts = json.loads("{" + body)
            except ValueError:
                continue
            if (now := logged_at(line)) and self.clock:
                self.seconds += max(0.0, (now - self.clock).total_seconds())
                self.clock = now
            # where no label is smoothed, as in language models, fairseq writes one loss only, and it is the NLL
            if "num_updates" in facts and (nll := facts.get("nll_loss", facts.get("loss"))) is not None:
                self.updates = int(facts["num_updates"])
                self.train[self.updates] = float(nll)
                self.remark = f"ppl {facts['ppl']}, {facts['ups']} updates/s"
            elif (nll := facts.get("valid_nll_loss", facts.get("valid_loss"))) is not None:
                self.valid[int(facts["valid_num_updates"])] = float(nll)
        return self

    def train_perplexity(self, updates: int = 50) -> float:
        """Return the perplexity over the last updates, so that one easy batch does not decide."""
        last = max(self.train, default=0)
        recent = [bits for update, bits in self.train.items() if update > last - updates]
        return 2 ** (sum(recent) / len(recent)) if recent else math.nan

    def valid_perplexity(self) -> float:
        """Return the perplexity at the last validation."""
        return 2 ** self.valid[max(self.valid)] if self.valid else math.nan


def logged_at(line: str) -> datetime | None:
    """Return the time that fairseq writes before a line of its log."""
    try:
        return datetime.fromisoformat(line[: len("2026-11-27 06:43:44")])
    except ValueError:
        return None


def training_counter() -> Callable[[Iterable[str]], tuple[int | None, str]]:
    """Return a counter of updates for one training's log."""
    history = History()

    def count(lines: Iterable[str]) -> tuple[int | None, str]:
        history.read(lines)
        return history.updates, history.remark

    return count


def sentence_counter() -> Callable[[Iterable[str]], tuple[int | None, str]]:
    """Return a counter of translated sentences in generate's output."""
    sentences = 0

    def count(lines: Iterable[str]) -> tuple[int | None, str]:
        nonlocal sentences
        sentences += sum(line.startswith("D-") for line in lines)
        return sentences, "sentences"

    return count
