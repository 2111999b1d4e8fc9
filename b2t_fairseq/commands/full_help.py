"""`COMMAND --help`: an example on top, and then every option, ours among fairseq's.

fairseq answers `--help` before it has added the options of the architecture, the task, the criterion and the
optimizer. We let it add them first, and print the parser that it is about to parse with.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from unittest import mock

from ..common.command_line import Parser
from . import table

#: command -> arguments that a user would give it
EXAMPLES = {
    "train": "data-bin --arch transformer_b2t_18_18 --share-all-embeddings --optimizer adam --adam-betas '(0.9, 0.98)' "
    "--lr 1e-3 --lr-scheduler inverse_sqrt --warmup-updates 4000 --criterion label_smoothed_cross_entropy "
    "--label-smoothing 0.1 --max-tokens 4096 --max-update 50000",
    "hydra-train": "--config-dir . --config-name run common.seed=2",
    "export": "runs/quickstart/post-18-18 served --format ctranslate2",
    "generate": "data-bin --path checkpoints/checkpoint_best.pt --beam 4 --lenpen 0.6",
    "interactive": "data-bin --path checkpoints/checkpoint_best.pt --beam 4 --input sentences.en",
    "validate": "data-bin --path checkpoints/checkpoint_best.pt --valid-subset valid --max-tokens 4096",
    "eval-lm": "data-bin --path checkpoints/checkpoint_best.pt --gen-subset test --context-window 400",
    "preprocess": "-s en -t de --trainpref train --validpref val --testpref test --joined-dictionary "
    "--destdir data-bin",
    "score": "--sys hypotheses.txt --ref references.txt",
    "analyze": "gradients --arch transformer_b2t_18_18 --output gradients.jsonl",
    "average-checkpoints": "--inputs checkpoints --num-epoch-checkpoints 10 --output checkpoints/average.pt",
    "bleu": "--hypotheses generate.log --references test.de",
    "completion": "bash > ~/.local/share/bash-completion/completions/b2t-fairseq",
    "convert": "checkpoint_best.pt ours.pt --data data-bin/wmt_ende",
    "depth-check": "--connections post,pre,b2t --layers 6-6,18-18",
    "dlcl-weights": "--path checkpoints/checkpoint_best.pt --output weights.png",
    "device-check": "--device cuda --output device-check",
    "doctor": "",
    "paper-evaluate": "wmt_ende --run runs/wmt-ende-b2t-18-18",
    "paper-train": "wmt_ende --connection b2t --layers 18-18",
    "patches": "",
    "perplexity": "--output eval-lm.log --text test.txt",
    "prepare": "wmt_ende --output data/wmt-ende",
    "quickstart": "--layers 18-18 --connections post,pre,b2t",
    "reproduce": "table1 figure3 --seeds 1,2,3 --jobs 2",
    "rouge": "--hypotheses generate.log --references test.title",
    "transcribe": "recording.flac --path checkpoints/checkpoint_best.pt --data data/librispeech",
    "wer": "--hypotheses generate.log --references test.words",
}
#: what a command needs to show all of its options
TO_SHOW_ALL = {
    "train": shlex.split(
        "--arch transformer_b2t_18_18 --optimizer adam --lr-scheduler inverse_sqrt "
        "--criterion label_smoothed_cross_entropy"
    ),
    "validate": ["--task", "translation"],
}
LOAD_CHECKPOINTS = ("train", "generate", "interactive", "validate", "eval-lm")
#: options that our patches read before fairseq's parser sees the command line
EARLY_OPTIONS = {
    "--connection-module": {"metavar": "FILE", "help": "a Python file of yours that registers connections"},
    "--trust-checkpoint": {"action": "store_true", "help": "build whatever a checkpoint's options name"},
    "--distributed-timeout": {"metavar": "SECONDS", "help": "how long a silent worker is waited for (default: 300)"},
}


def show(command: str, arguments: Sequence[str]) -> int | None:
    """Print the example and all options of a command, of the `--arch` or `--task` that `arguments` name."""
    print(f"example: {example(command)}\n", flush=True)
    if command in table.OUR_COMMANDS or command in ("hydra-train", "score"):  # their own help is complete
        return table.start(command, list(arguments))
    parser = parser_of(command, [word for word in arguments if word not in ("-h", "--help")])
    if command in LOAD_CHECKPOINTS:
        add_early_options(parser)
    parser.print_help()
    return 0


def example(command: str) -> str:
    """Return one line that a user could run."""
    return f"b2t-fairseq {command} {EXAMPLES[command]}".rstrip()


def parser_of(command: str, arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser that `command` would parse `arguments` with, which decide fairseq's options."""
    given = [*TO_SHOW_ALL.get(command, []), *arguments]  # of two, argparse takes the later
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with mock.patch.object(sys, "argv", list(sys.argv)):
            return first_parser(lambda: table.start(command, given))
    finally:
        logging.disable(before)


def add_early_options(parser: argparse.ArgumentParser) -> None:
    """Add those of `EARLY_OPTIONS` that the parser does not have, so that its help lists them."""
    group = parser.add_argument_group("b2t_fairseq")
    for option, settings in EARLY_OPTIONS.items():
        if option not in parser._option_string_actions:
            group.add_argument(option, **settings)


def first_parser(action: Callable[[], object]) -> argparse.ArgumentParser:
    """Run `action` up to its first `parse_args`, or a `parse_known_args` of ours; return that parser."""

    class Caught(BaseException):
        pass

    def catch(parser: argparse.ArgumentParser, *_, **__):
        raise Caught(parser)

    def catch_whole(parser: Parser, *arguments):
        return catch(parser) if parser.add_help else argparse.ArgumentParser.parse_known_args(parser, *arguments)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", catch),
        mock.patch.object(Parser, "parse_known_args", catch_whole),
    ):
        try:
            action()
        except Caught as caught:
            return caught.args[0]
    raise RuntimeError("the command parsed nothing")
