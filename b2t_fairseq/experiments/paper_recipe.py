"""The paper's recipes, configs/paper/*.yaml: which options a training has, and how its effective batch is kept."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..connections import CONNECTIONS, get_connection
from .recipes import Block, read_recipe

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "paper"
RECIPES = ("paper", "released", "own")
TOKENS = "tokens-per-update"  # the one key that is no option of fairseq's


@dataclass(frozen=True)
class PaperTask:
    """A corpus of the paper.

    Attributes:
        name: of its recipe, its scripts and its folders.
        architecture: what stands before the connection's name in the architecture's.
        depths: the depths that have a named architecture.
        evaluates: the fairseq command that evaluates, which is also its block's name.
        tests: the test sets, in the order of the paper's table.
        folder: what the preparation calls the folder that fairseq reads.
    """

    name: str
    architecture: str
    depths: tuple[str, ...]
    evaluates: str
    tests: tuple[str, ...]
    folder: str = "data-bin"

    def binarised(self, data: str | os.PathLike) -> Path:
        """The folder that fairseq reads, whether it is named itself or the prepared one around it."""
        data = Path(data)
        return data if any(data.glob("dict*.txt")) else data / self.folder


TRANSLATION_DEPTHS = ("6-6", "12-12", "18-18", "36-36", "50-50", "60-12", "100-100")
TASKS = {
    task.name: task
    for task in (
        PaperTask(
            "wmt_ende",
            "transformer",
            TRANSLATION_DEPTHS,
            "generate",
            tuple(f"newstest{year}" for year in range(2010, 2017)),
        ),
        PaperTask("gigaword", "transformer", ("6-6", "18-18"), "generate", ("test",)),
        PaperTask("wikitext103", "transformer_lm", ("6", "16"), "eval-lm", ("valid", "test")),
        PaperTask(
            "librispeech",
            "s2t_transformer",
            ("6-6", "12-6"),
            "generate",
            ("dev-clean", "dev-other", "test-clean", "test-other"),
            folder="data",
        ),
    )
}


def read(path: str | os.PathLike, task: PaperTask) -> dict[str, Block]:
    """The blocks of a recipe.

    Raises:
        UserError: no such file, no YAML, a block missing, or one whose name holds an unknown word.
    """
    import yaml

    names: tuple[str, ...] = ()
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):  # `read_recipe` says what is wrong
        names = tuple(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or ())
    needed = ("train", "stop", "average", task.evaluates)
    recipe = read_recipe(path, tuple(dict.fromkeys((*needed, *names))))
    recipe = {str(name): block for name, block in recipe.items()}  # YAML takes a bare 6 for a number
    words = {*needed, *RECIPES, *task.depths, *task.tests, *CONNECTIONS}
    for name in recipe:
        if unknown := [word for word in name.split() if word not in words]:
            raise UserError(
                f"recipe {path}: block '{name}': '{unknown[0]}' is no recipe, depth, connection or test set"
            )
    if TOKENS not in recipe["train"] or "max-tokens" not in recipe["train"]:
        raise UserError(f"recipe {path}: block 'train' needs {TOKENS} and max-tokens")
    return recipe


def merged(recipe: Mapping[str, Block], base: str, *chosen: str) -> dict[str, Any]:
    """A block with all that is added to it for what was chosen; later blocks win.

    ``train`` takes the blocks whose words are all chosen, any other block those that begin with its name.
    """
    options = dict(recipe[base])
    for name, block in recipe.items():
        words = name.split()
        if base != "train" and words[0] == base:
            words = words[1:]
        elif base != "train":
            continue
        if words and set(words) <= set(chosen):
            options |= block
    return options


def training_options(
    task: PaperTask, recipe: Mapping[str, Block], connection: str, depth: str, kind: str
) -> tuple[int, dict[str, Any]]:
    """Tokens per update, and fairseq-train's options, for a connection, a depth and a recipe (`RECIPES`).

    Raises:
        UserError: a combination that would not be what its name says.
    """
    own_init = get_connection(connection).default_init
    if kind == "own" and f"own {connection}" not in recipe:
        having = ", ".join(name.removeprefix("own ") for name in recipe if name.startswith("own "))
        raise UserError(f"--recipe own: only {having} have a schedule of their own; use --recipe paper")
    options = merged(recipe, "train", connection, depth, kind)
    if options.get("connection-init") not in (None, "auto", own_init) and own_init != "default":
        raise UserError(
            f"--recipe {kind} initialises by '{options['connection-init']}', which would replace {connection}'s own "
            "initialisation: use --recipe paper"
        )
    return options.pop(TOKENS), options


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
        return self.gpus * self.nodes * self.max_tokens * self.update_freq

    @property
    def exact_max_tokens(self) -> int | None:
        """The largest max-tokens up to the present one that gives exactly what is wanted; None if all are small."""
        share, rest = divmod(self.wanted, self.gpus * self.nodes)
        sizes = range(self.max_tokens // self.unit * self.unit, self.max_tokens // 4, -self.unit)
        return None if rest else next((size for size in sizes if share % size == 0), None)

    def lines(self) -> list[str]:
        """What is printed before the training starts."""
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
    """The update-freq that brings an update nearest to the wanted tokens, unless one is given."""
    if update_freq is None:
        update_freq = max(1, round(wanted / (gpus * nodes * max_tokens)))
    return Batch(wanted, gpus, nodes, max_tokens, update_freq, unit)


def given(extra: Sequence[str], option: str) -> str | None:
    """The value of ``--option`` among further options, the last one if there are several; an error if it has none."""
    value = None
    for place, argument in enumerate(extra):
        name, equals, text = argument.partition("=")
        if name == f"--{option}":
            value = text if equals else next(iter(extra[place + 1 : place + 2]), "")
            if not value:
                raise UserError(f"--{option} (after --) needs a value")
    return value


def given_number(extra: Sequence[str], option: str) -> int | None:
    """`given` as a positive whole number."""
    value = given(extra, option)
    if value is not None and not (value.isdecimal() and int(value) > 0):
        raise UserError(f"--{option} {value} (after --): must be a positive whole number")
    return None if value is None else int(value)
