"""What every metric returns, and how a score is written down: on one line, and as JSON."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..common.errors import UserError
from ..common.files import write_record


class Score(NamedTuple):
    """A score with what is needed to compare it: the metric's signature and what was counted."""

    score: float
    signature: str
    counts: Mapping[str, float | int | list[int]]


def line(metric: str, score: Score, split: str, checkpoint: str, connection: str) -> str:
    """Return a line that can stand alone: `BLEU 31.20 | split:… | checkpoint:… | connection:… | nrefs:1|…`."""
    return f"{metric} {score.score:.2f} | split:{split} | checkpoint:{checkpoint} | {connection} | {score.signature}"


def write_json(path: str | os.PathLike, scores: Mapping[str, Score], **facts: str) -> None:
    """Write scores by metric, with facts such as the split; one score stands at the top level."""
    named = {metric: {"metric": metric, **score._asdict()} for metric, score in scores.items()}
    content = {**next(iter(named.values())), **facts} if len(named) == 1 else {"scores": named, **facts}
    write_record(path, content)


def check_sides(hypotheses: Sequence[str], references: Sequence[str], metric: str) -> None:
    """Refuse what has no score.

    Raises:
        UserError: no reference, another number of hypotheses than references, or an empty reference.
    """
    if not references:
        raise UserError(f"the reference holds no sentence: {metric} is not defined")
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} hypotheses for {len(references)} references: {metric} needs one for each")
    for number, reference in enumerate(references, 1):
        if not reference.strip():
            raise UserError(f"reference line {number} is empty: remove the pair from the test set")


def full_signature(connection: str) -> str:
    """Return a connection's name as a signature; a whole signature stays."""
    return connection if ":" in connection else f"connection:{connection}"
