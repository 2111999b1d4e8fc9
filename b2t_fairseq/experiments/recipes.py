"""Recipes: YAML files whose blocks are flat lists of a command's own options."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.errors import UserError

Block = Mapping[str, Any]


def read_recipe(path: str | os.PathLike, blocks: tuple[str, ...]) -> dict[str, Block]:
    """Reads a recipe that must hold exactly ``blocks``, each a flat mapping of options.

    Raises:
        UserError: for a missing or malformed file, an unknown or missing block, a nested value.
    """
    import yaml

    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"recipe {path}: {error.strerror.lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict) or set(recipe) != set(blocks):
        found = ", ".join(map(str, recipe)) if isinstance(recipe, dict) else "none"
        raise UserError(f"recipe {path} must hold the blocks {', '.join(blocks)}; found: {found}")
    for name, block in recipe.items():
        if not isinstance(block, dict):
            raise UserError(f"recipe {path}: block '{name}' must be a list of options 'name: value'")
        for key, value in block.items():
            if not isinstance(value, str | int | float):
                raise UserError(f"recipe {path}: {name}.{key} must be one number, word, true or false")
    return recipe


def flags(block: Block) -> list[str]:
    """Each key as its flag: ``lr: 0.001`` -> ``--lr 0.001``; ``true`` is a bare flag and ``false`` leaves it out."""
    arguments = []
    for key, value in block.items():
        if value is not False:
            arguments += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return arguments
