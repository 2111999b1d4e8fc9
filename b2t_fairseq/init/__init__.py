"""Initialisations by name (`--connection-init`): functions of a model's stacks.

To add one, write its file and name it here.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from ..common.errors import UserError
from ..layers import Stack
from .admin import admin
from .deepnet import deepnet
from .ds_init import ds_init
from .lipschitz import lipschitz
from .rescale import rescale
from .scaled import scaled
from .sub_ln import sub_ln
from .tfixup import tfixup


class Stacks(NamedTuple):
    """What an initialisation may change: a model's stacks and embeddings; None where the model has none."""

    encoder: Stack | None = None
    decoder: Stack | None = None
    source_embedding: nn.Module | None = None
    target_embedding: nn.Module | None = None

    def present(self) -> list[Stack]:
        return [stack for stack in (self.encoder, self.decoder) if stack is not None]


def default(stacks: Stacks) -> None:
    """Stock fairseq's initialisation, which the layers were built with."""


INITIALISATIONS: dict[str, Callable[[Stacks], None]] = {
    "default": default,
    "rescale": rescale,
    "deepnet": deepnet,
    "tfixup": tfixup,
    "admin": admin,
    "sub_ln": sub_ln,
    "ds_init": ds_init,
    "scaled": scaled,
    "lipschitz": lipschitz,
}
CHOICES = ("auto", *INITIALISATIONS)


def resolve(name: str | None, default_init: str) -> str:
    """Return the initialisation meant by `--connection-init NAME` for a connection whose own is `default_init`.

    Raises:
        UserError: unknown name; lists the known ones.
    """
    name = name or "auto"
    if name not in CHOICES:
        raise UserError(f"--connection-init '{name}' is unknown: choose one of {', '.join(CHOICES)}")
    return default_init if name == "auto" else name


def initialise(stacks: Stacks, name: str) -> None:
    """Apply an initialisation once, after construction; a checkpoint loaded later replaces it."""
    INITIALISATIONS[name](stacks)
