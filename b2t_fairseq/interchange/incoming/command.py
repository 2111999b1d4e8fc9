"""`b2t-fairseq convert IN OUT`: a checkpoint of another code as one of ours.

b2t-fairseq convert checkpoint_best.pt ours.pt --data data-bin/wmt_ende
"""

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fairseq import models, tasks
from fairseq.data import Dictionary

from ...checkpoints import integrity
from ...checkpoints.arguments import write
from ...checkpoints.loading import check_history, load_checkpoint
from ...checkpoints.signature import signature_of
from ...checkpoints.trust import check_bounds, check_names, check_sizes, drop_places
from ...checkpoints.vocabulary import describe
from ...common.command_line import Parser, forget_import_time_logging, guarded
from ...common.errors import UserError
from .conversion import INITS, convert
from .detect import SOURCES
from .foreign import words_of


def main(argv: Sequence[str] | None = None) -> int:
    """Convert as the command line says."""
    args = _parser().parse_args(argv)
    forget_import_time_logging()  # the model that is built for `check_fits` is not what is written
    check_files(args.input, args.output)
    checkpoint = load_checkpoint(args.input)
    check_bounds(checkpoint, args.input)
    check_history(checkpoint, args.input)
    converted = convert(checkpoint, args.input, args.init)
    if converted is None:
        raise not_foreign(args.input, checkpoint)
    check_fits(converted.checkpoint, args.input)
    if args.data:
        note_vocabulary(converted.checkpoint, args.input, args.data)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    integrity.write(converted.checkpoint, args.output)
    print(f"{args.output}: converted from {args.input}, a checkpoint of {converted.source} {converted.signature}")
    notes = list(converted.notes)
    if checkpoint.get("last_optimizer_state") is not None:
        notes.append("the optimizer's state is left out: a training from this file starts a new one")
    for note in notes:
        print(f"note: {args.input}: {note}", file=sys.stderr)
    return 0


def _parser() -> Parser:
    codes = ", ".join(source.NAME.removeprefix("the ").removesuffix("' own code") for source in SOURCES)
    parser = Parser(
        prog="b2t-fairseq convert",
        description=f"Write a checkpoint of another code as one of ours: {codes}.",
        epilog="example: b2t-fairseq convert checkpoint_best.pt ours.pt --data data-bin/wmt_ende",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", help="the checkpoint of the other code; it stays as it is")
    parser.add_argument("output", metavar="OUT", help="the checkpoint to write")
    parser.add_argument(
        "--init",
        choices=INITS,
        help="how a B2T model was initialised, for its signature: rescale (default; their code since May 2023) or "
        "default (before)",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="the data folder of its training: note its vocabulary, so that another is refused"
    )
    return parser


def check_files(source: str, target: str) -> None:
    """Refuse what cannot be read or written, before anything is.

    Raises:
        UserError: it is.
    """
    if not Path(source).is_file():
        raise UserError(f"{source}: no such checkpoint file")
    if Path(target).is_dir():
        raise UserError(f"{target} is a folder: name the checkpoint file to write")
    if Path(target).exists() and os.path.samefile(source, target):
        raise UserError(f"{target} is the file to convert, which is not written over: name another one")


def not_foreign(path: str, checkpoint: Mapping[str, Any]) -> UserError:
    """Return the error for a checkpoint that is of none of the codes."""
    signature = signature_of(checkpoint)
    if signature and "|plugin:" in signature:
        return UserError(f"{path} is one of ours already ({signature}): use it as it is")
    if signature:
        return UserError(f"{path} is fairseq's own ({signature}): it is used as it is, and needs no conversion")
    names = "; ".join(source.NAME for source in SOURCES)
    return UserError(f"{path}: not of a code that can be converted ({names})")


def check_fits(checkpoint: Mapping[str, Any], path: str) -> None:
    """Refuse a file whose weights are not those that its options ask for: build the model and load them.

    Raises:
        UserError: a weight is missing, left over, or of another size.
    """
    options = options_of(checkpoint)
    check_sizes(options, checkpoint["model"], path)
    options = Namespace(**{**vars(options), "connection_init": "default", "connection_signature": None})
    drop_places(options, (), [])
    weights = dict(checkpoint["model"])
    rows = {side: words_of(weights, side) for side in ("encoder", "decoder")}
    target = numbered(rows["decoder"])
    source = target if rows["encoder"] == rows["decoder"] or not rows["encoder"] else numbered(rows["encoder"])
    try:
        model = models.build_model(options, SimpleNamespace(source_dictionary=source, target_dictionary=target))
        model.load_state_dict(weights, strict=True)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # whatever fairseq and torch make of options and weights that do not belong together
        why = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: its options and its weights do not belong together ({why})") from None


def options_of(checkpoint: Mapping[str, Any]) -> Namespace:
    """Return the model's options as a Namespace of their own."""
    args = checkpoint.get("args")
    return Namespace(**(vars(args) if args is not None else checkpoint["cfg"]["model"]))


def numbered(words: int) -> Dictionary:
    """Return a dictionary of so many words, whichever."""
    dictionary = Dictionary()
    for number in range(words - len(dictionary)):
        dictionary.add_symbol(f"#{number}")
    return dictionary


def note_vocabulary(checkpoint: dict[str, Any], path: str, data: str) -> None:
    """Write the vocabulary of a data folder into a checkpoint's options.

    Raises:
        UserError: there is no such folder or dictionary, or it has another number of words than the embeddings.
    """
    if not Path(data).is_dir():
        raise UserError(f"--data {data}: no such folder; it takes the data folder of the training")
    args = checkpoint.get("args")
    options = dict(vars(args) if args is not None else checkpoint["cfg"].get("task") or {})
    name = options.get("task") or options.get("_name") or "translation"
    check_names("task", [name], path, {})
    try:
        task = tasks.setup_task(Namespace(**{**options, "task": name, "data": data}))
    except OSError as error:
        raise UserError(f"--data {data}: {error.filename or error}: cannot be read; name the data folder") from None
    for side, dictionary in (("encoder", task.source_dictionary), ("decoder", task.target_dictionary)):
        words = words_of(checkpoint["model"], side)
        if words and words != len(dictionary):
            raise UserError(f"--data {data}: {len(dictionary)} words, and {path} has embeddings of {words} ({side})")
    vocabulary = describe(task.source_dictionary, task.target_dictionary)
    if args is None:
        checkpoint["cfg"]["model"]["vocabulary"] = vocabulary
    else:
        write(args, "vocabulary", vocabulary)


if __name__ == "__main__":
    sys.exit(guarded(main))
