"""`b2t-fairseq analyze PROBE`: gradients, similarities, variances and learned weights, layer by layer.

    b2t-fairseq analyze gradients --connection post,pre,b2t --layers 18-18 --figure figure3.svg
    b2t-fairseq analyze similarity --path runs/b2t/checkpoint_best.pt --data data-bin/wmt_ende --figure figure5.svg
    b2t-fairseq analyze growth --arch transformer_lm_pre_16 --data data-bin/wikitext-103 --output growth.jsonl

On checkpoints, on translation models that were never trained, or on any architecture at initialisation, ours, the
user's or fairseq's own. One batch, no dropout. The records are JSON lines; without --output and --figure they are
printed.
"""

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..common.command_line import Parser, guarded, not_negative, positive
from ..common.errors import UserError
from ..common.files import check_writable, write_atomically
from ..models.methods import METHODS, add_code_options, parse_methods
from . import figures, fresh, style, trained
from .probes import PROBES

NAMES = (*PROBES, "weights")
FRESH = ("--layers", "--width", "--source-lang", "--target-lang")  # options of models by --connection alone


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = Parser(
        prog="b2t-fairseq analyze",
        description=__doc__.split("\n")[0].partition(": ")[2],
        epilog="Options after -- are fairseq-train's, for --arch: analyze growth --arch ... -- --decoder-layers 8",
    )
    add = parser.add_argument
    add("probe", choices=NAMES, metavar="PROBE", help=", ".join(NAMES))
    add("--path", nargs="+", metavar="FILE", help="checkpoints: translation, language model, speech")
    add("--connection", metavar="A,B", help=f"translation models at initialisation: {METHODS}")
    add("--arch", metavar="A,B", help="fairseq architectures at initialisation, such as transformer_lm_b2t_16")
    add_code_options(add)
    add("--layers", metavar="N-M,…", help="depths for --connection (default: 18-18)")
    add("--width", type=positive, metavar="D", help="width for --connection; FFN 4 times (default: 512)")
    add("--source-lang", metavar="XX", help="of the parallel text in --data (default: en)")
    add("--target-lang", metavar="XX", help="of the parallel text in --data (default: de)")
    add("--data", metavar="DIR", help="binarised data; for --connection parallel text (default: the embedded corpus)")
    add("--subset", default="valid", metavar="NAME", help="the binarised data's set (default: %(default)s)")
    add("--tokens", type=positive, default=fresh.TOKENS, help="of the batch; frames of speech (default: %(default)s)")
    add("--seed", type=not_negative, default=1, metavar="N", help="of the initialisation (default: %(default)s)")
    add("--at", metavar="N,…", help="decoder layers of points (default: first, middle, last)")
    add("--output", metavar="FILE", help="where the records go (JSON lines)")
    add("--figure", metavar="FILE", help="where the figure goes: .svg, .png or .pdf")
    add("--trust-checkpoint", action="store_true", help="take a checkpoint's word for classes, files and modules")
    options = parser.parse_and_keep_further(arguments)
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """Raise a UserError for options that do not go together, before anything is loaded."""
    if sum(map(bool, (options.path, options.connection, options.arch))) != 1:
        raise UserError("give one of --path (checkpoints), --connection (models at initialisation) and --arch")
    given = [name for name in FRESH if getattr(options, name[2:].replace("-", "_")) is not None]
    if given and not options.connection:
        raise UserError(f"{given[0]} goes with --connection; a checkpoint and an architecture have theirs")
    if options.further and not options.arch:
        raise UserError(f"{options.further[0]}: options after -- go with --arch")
    if options.at is not None and options.probe != "points":
        raise UserError("--at goes with points: the other probes show every layer")
    if options.arch and not options.data:
        raise UserError("--data is missing: a data folder as fairseq-train takes it, for --arch")
    if options.at is not None and not all(part.isdecimal() for part in options.at.split(",")):
        raise UserError(f"--at {options.at}: write layers as in 1,9,18")
    for layers in (options.layers or "18-18").split(","):
        fresh.check_layers(layers)
    if options.connection:
        options.connection = parse_methods(options.connection, "--connection")
    if options.figure:
        style.check_path(options.figure)
    if options.output:
        check_writable(options.output, "--output")


def measured(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each model."""
    common: dict[str, Any] = {"tokens": options.tokens}
    if options.at is not None:
        common["point_layers"] = sorted({int(part) for part in options.at.split(",")})
    if options.path:
        common |= {"subset": options.subset, "trust_checkpoint": options.trust_checkpoint}
        for path in options.path:
            yield trained.measure(options.probe, path, options.data, **common)
    elif options.arch:
        common |= {"subset": options.subset, "further": options.further}
        for arch in options.arch.split(","):
            yield fresh.measure_architecture(options.probe, arch, options.data, options.seed, **common)
    else:
        common["languages"] = (options.source_lang or "en", options.target_lang or "de")
        pairs = itertools.product((options.layers or "18-18").split(","), options.connection)
        for layers, connection in pairs:
            width = options.width or 512
            yield fresh.measure(options.probe, connection, layers, width, options.seed, options.data, **common)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, then write or print the records, and draw them."""
    options = parse(arguments)
    logging.root.setLevel(logging.WARNING)  # fairseq tells about its dictionaries, and more
    records = list(itertools.chain.from_iterable(measured(options)))
    lines = "".join(f"{json.dumps(record, allow_nan=False)}\n" for record in records)
    if options.output:
        write_atomically(options.output, lines)
    if options.figure:
        figures.DRAW[options.probe](records, options.figure)
    if options.output or options.figure:
        print(f"written: {', '.join(filter(None, (options.output, options.figure)))}")
    else:
        print(lines, end="")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
