"""The paper's effective batch on any number of GPUs: tokens per update = GPUs x machines x max-tokens x update-freq."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """How many tokens an update sees, and how they are made up.

    Attributes:
        wanted: the recipe's tokens per update.
        gpus: of each machine.
        nodes: machines.
        max_tokens: of one GPU at a time.
        update_freq: how often, before the update.
        unit: max_tokens is of use in multiples of this only: a language model's window.
    """

    wanted: int
    gpus: int
    nodes: int
    max_tokens: int
    update_freq: int
    unit: int = 1

    @property
    def tokens(self) -> int:
        """Return the tokens that an update sees."""
        return self.gpus * self.nodes * self.max_tokens * self.update_freq

    @property
    def exact_max_tokens(self) -> int | None:
        """Return the largest max-tokens up to this one that gives exactly what is wanted; None if all are small."""
        share, rest = divmod(self.wanted, self.gpus * self.nodes)
        sizes = range(self.max_tokens // self.unit * self.unit, self.max_tokens // 4, -self.unit)
        return None if rest else next((size for size in sizes if share % size == 0), None)

    def lines(self) -> list[str]:
        """Return what is printed before the training starts."""
        parts = [f"{self.gpus} GPU{'s' * (self.gpus > 1)}", f"max-tokens {self.max_tokens}"]
        if self.nodes > 1:
            parts.insert(0, f"{self.nodes} nodes")
        lines = [f"tokens per update: {self.tokens:,} = {' x '.join(parts)} x update-freq {self.update_freq}"]
        if self.tokens != self.wanted:
            off = self.tokens - self.wanted
            lines.append(
                f"note: the recipe has {self.wanted:,}; this is {abs(off):,} ({abs(off) / self.wanted:.1%}) "
                f"{'more' if off > 0 else 'fewer'}, the nearest that these GPUs and --max-tokens give"
                + (f"; -- --max-tokens {exact} keeps it exactly" if (exact := self.exact_max_tokens) else "")
            )
        return lines


def keep_batch(
    wanted: int, gpus: int, nodes: int, max_tokens: int, update_freq: int | None = None, unit: int = 1
) -> Batch:
    """Choose the update-freq that brings an update nearest to the wanted tokens, unless one is given."""
    if update_freq is None:
        update_freq = max(1, round(wanted / (gpus * nodes * max_tokens)))
    return Batch(wanted, gpus, nodes, max_tokens, update_freq, unit)
