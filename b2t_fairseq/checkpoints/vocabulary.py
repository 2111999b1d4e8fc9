"""The vocabulary of a training, noted in its checkpoints.

A row of an embedding means something only beside its symbol: with another dictionary a model writes nonsense, and if
the dictionary is as large, nothing else would tell.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from fairseq.data import Dictionary

from ..common.errors import UserError
from .arguments import model_argument, write


def describe(*dictionaries: Dictionary) -> str:
    """Size and hash of the symbols in their order, as "120 pieces, 5f0c1a2b"; counts are nothing to the model.

    Equal dictionaries, such as the joined ones of source and target, are described once.
    """
    described = {}  # a set that keeps the order
    for dictionary in dictionaries:
        symbols = dictionary.symbols[: len(dictionary)]  # --output-dictionary-size hides the rest
        described[f"{len(symbols)} pieces, {hashlib.sha256(chr(10).join(symbols).encode()).hexdigest()[:8]}"] = None
    return " and ".join(described)


def check_vocabulary(args: Any, task: Any, *dictionaries: Dictionary) -> str:
    """Refuse a checkpoint whose vocabulary is not the data folder's; a new model notes its own in its arguments.

    Called before the model is built, so that it also comes before a complaint about sizes. Checkpoints that note
    nothing, older ones and fairseq's own, are taken as they are.

    Args:
        args: the model's arguments, new or from a checkpoint.
        task: the task, which knows the data folder.
        dictionaries: those that the model's embeddings belong to.

    Returns:
        The vocabulary as `describe` says it.

    Raises:
        UserError: other symbols, or the same in another order, even if there are as many.
    """
    vocabulary, expected = describe(*dictionaries), getattr(args, "vocabulary", None)
    if expected and expected != vocabulary:
        config = getattr(task, "args", None) or getattr(task, "cfg", None)
        raise UserError(
            f"{getattr(config, 'data', 'the data folder')} has another vocabulary ({vocabulary}) than the one this "
            f"checkpoint was trained with ({expected}): name the data folder of that training"
        )
    write(args, "vocabulary", vocabulary)
    return vocabulary


def check_same_vocabulary(checkpoint: Mapping[str, Any], expected: str | None, path: str) -> None:
    """Refuse to resume from a loaded checkpoint that was trained with another vocabulary than this run's.

    Raises:
        UserError: both are known and differ; names both.
    """
    stored = model_argument(checkpoint, "vocabulary")
    if stored and expected and stored != expected:
        raise UserError(
            f"{path} was trained with another vocabulary ({stored}) than the data folder's ({expected}): "
            "name the data folder of that training, or another --save-dir or --restore-file"
        )
