"""A checkpoint of the user's in the quickstart's table, `checkpoint:FILE`: it is evaluated, not trained."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..models import methods
from . import report
from .cells import Cell, signature
from .jobs.runner import Chain, fingerprint

CHECKPOINT = "checkpoint:"


@dataclass(frozen=True)
class CheckpointCell(Cell):
    """The evaluation of a checkpoint; `connection` is `checkpoint:FILE`."""

    @property
    def averaged(self) -> Path:
        """Return the checkpoint."""
        return Path(self.connection.removeprefix(CHECKPOINT))

    @property
    def name(self) -> str:
        """Return what the progress display calls it."""
        return self.connection

    @property
    def code(self) -> list[str]:
        """Return the options that import all code of the user's: which of it a checkpoint needs is not known here."""
        return methods.code_options(*methods.OWN)

    @cached_property
    def fingerprint(self) -> str:
        """Hash the checkpoint's content and how it is evaluated."""
        content = hashlib.sha256(self.averaged.read_bytes()).hexdigest()
        options = [f"{key} {value}" for key, value in sorted(self.recipe[self.task.command].items())]
        code = methods.code_key(*methods.OWN)
        return fingerprint("checkpoint", content, code, self.task.name, self.task.content(), *options, *self.tests)

    @property
    def folder(self) -> Path:
        """Return the folder of its evaluation."""
        return self.root / f"checkpoint-{self.averaged.stem}-{self.fingerprint[:8]}"

    @cached_property
    def chain(self) -> Chain:
        """Return the commands: one evaluation for each test set."""
        return Chain(self.name, self.evaluations(self.fingerprint))

    def finish(self, counts: Mapping[str, int], threads: int) -> dict[str, Any] | None:
        """Return the scores and the checkpoint's signature; None after an accident, which is the chain's failure."""
        if self.chain.failure is not None:
            return None
        try:
            scores = report.by_name(self.scores())
        except UserError as error:
            self.chain.failure = f"no score: {error}"
            return None
        return {"scores": scores, "signature": signature(self.averaged)}


def check_file(method: str) -> str:
    """Return `checkpoint:FILE` if there is such a file.

    Raises:
        UserError: there is none.
    """
    if not Path(method.removeprefix(CHECKPOINT)).is_file():
        raise UserError(f"--connections {method}: there is no such file: check the path")
    return method
