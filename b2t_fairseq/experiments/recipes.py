"""Recipes: YAML files whose blocks are flat lists of a command's own options, written without their dashes.

At laptop scale a recipe holds a fixed set of blocks (`read_recipe`). At paper scale (`read_paper_recipe`) further
blocks add to `train` or to the evaluation's block: their names are made of a recipe, a depth, a connection or a test
set.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..connections import CONNECTIONS, get_connection

Block = Mapping[str, Any]
RECIPES = ("paper", "released", "own")
TOKENS = "tokens-per-update"  # the one key that is not an option of fairseq's
#: options that a recipe cannot set: they run code, or name what is read and written
REFUSED = re.compile(
    r"(^|-)(dir|logdir|destdir|file|filename|path|pref|trainpref|validpref|testpref|module|from-model|from|data|dict|"
    r"inputs?|outputs?|codes|sentencepiece-model|vocab|json|url|init-method|overrides|checkpoint|project)$|dict$"
)


def configs_folder() -> Path:
    """Return the folder of all recipes: in an installed package beside this one, in a checkout at its top."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def read_recipe(path: str | os.PathLike, blocks: tuple[str, ...], optional: Iterable[str] = ()) -> dict[str, Block]:
    """Read a recipe that must hold `blocks` and may hold `optional` ones, each a flat mapping of options.

    Raises:
        UserError: a missing or malformed file, an unknown or missing block, a nested value.
    """
    import yaml

    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"recipe {path}: {(error.strerror or str(error)).lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict) or set(recipe) - set(optional) != set(blocks):
        present = ", ".join(map(str, recipe)) if isinstance(recipe, dict) else "none"
        raise UserError(f"recipe {path} must hold the blocks {', '.join(blocks)}; it holds: {present}")
    for name, block in recipe.items():
        if not isinstance(block, dict):
            raise UserError(f"recipe {path}: block '{name}' must be a list of options 'name: value'")
        for key, value in block.items():
            if not isinstance(value, str | int | float):
                raise UserError(f"recipe {path}: {name}.{key} must be one number, word, true or false")
            check_option(path, name, str(key), value)
    return recipe


def check_option(path: str | os.PathLike, block: str, key: str, value: str | int | float) -> None:
    """Refuse what a recipe from a stranger could run, read or write.

    Raises:
        UserError: names the option; it can still be given on the command line.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
        raise UserError(f"recipe {path}: {block}.{key}: an option's name has letters, digits and dashes only")
    is_place = REFUSED.search(key) or (isinstance(value, str) and re.search(r"[/\\]|^~", value))
    if is_place:
        raise UserError(
            f"recipe {path}: {block}.{key} names code, a file or a folder, which a recipe must not: "
            f"give --{key} on the command line"
        )
    if isinstance(value, str) and value.startswith("--"):
        raise UserError(f"recipe {path}: {block}.{key}: '{value}' would be read as another option")


def flags(block: Block) -> list[str]:
    """Turn each key into its flag: `lr: 0.001` -> `--lr 0.001`; `true` is a bare flag and `false` leaves it out."""
    arguments = []
    for key, value in block.items():
        if value is not False:
            arguments += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return arguments


def read_paper_recipe(
    path: str | os.PathLike, command: str, depths: Iterable[str], tests: Iterable[str]
) -> dict[str, Block]:
    """Read the blocks of a recipe at paper scale.

    Args:
        path: the file.
        command: the evaluating command, whose block it must hold: "generate" or "eval-lm".
        depths: depths that blocks may be named after.
        tests: test sets that blocks may be named after.

    Raises:
        UserError: no such file, no YAML, a block missing, or one whose name holds an unknown word.
    """
    import yaml

    names: tuple[str, ...] = ()
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):  # `read_recipe` says why
        names = tuple(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or ())
    needed = ("train", "stop", "average", command)
    recipe = read_recipe(path, tuple(dict.fromkeys((*needed, *names))))
    recipe = {str(name): block for name, block in recipe.items()}  # YAML takes a bare 6 for a number
    words = {*needed, *RECIPES, *depths, *tests, *CONNECTIONS}
    for name in recipe:
        if unknown := [word for word in name.split() if word not in words]:
            raise UserError(
                f"recipe {path}: block '{name}': '{unknown[0]}' is not a recipe, depth, connection or test set"
            )
    if TOKENS not in recipe["train"] or "max-tokens" not in recipe["train"]:
        raise UserError(f"recipe {path}: block 'train' needs {TOKENS} and max-tokens")
    return recipe


def merged(recipe: Mapping[str, Block], base: str, *chosen: str) -> dict[str, Any]:
    """Return a block with all that is added to it for what was chosen; later blocks win.

    `train` takes the blocks whose words are all chosen, any other block those that begin with its name.
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


def training_options(recipe: Mapping[str, Block], connection: str, depth: str, kind: str) -> tuple[int, dict[str, Any]]:
    """Return tokens per update, and fairseq-train's options, for a connection, a depth and a recipe (`RECIPES`).

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


def given(extra: Sequence[str], option: str) -> str | None:
    """Return the value of `--option` among further options, the last one if there are several.

    Raises:
        UserError: the option has no value.
    """
    value = None
    for place, argument in enumerate(extra):
        name, equals, text = argument.partition("=")
        if name == f"--{option}":
            value = text if equals else next(iter(extra[place + 1 : place + 2]), "")
            if not value:
                raise UserError(f"--{option} (after --) needs a value")
    return value


def given_number(extra: Sequence[str], option: str) -> int | None:
    """Return `given` as a positive whole number.

    Raises:
        UserError: it is something else.
    """
    value = given(extra, option)
    if value is not None and not (value.isdecimal() and int(value) > 0):
        raise UserError(f"--{option} {value} (after --): must be a positive whole number")
    return None if value is None else int(value)
