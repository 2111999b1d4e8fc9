"""Our one command: fairseq's own commands with `--user-dir` filled in, and the project's tools.

`b2t-fairseq train DATA --arch transformer_b2t_18_18 …` is `fairseq-train DATA --user-dir …/b2t_fairseq …` run in this
process, so spawned and torchrun workers find the plugin as well. What the user can fix ends in one line `error: ...`
and exit status 2; a traceback always means a bug.

Nothing here imports torch or fairseq, so that `--help` and `--version` answer at once.
"""

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

from .common.command_line import guarded
from .common.errors import UserError
from .version import __version__

#: commands of fairseq's
FAIRSEQ_COMMANDS = ("train", "hydra-train", "generate", "interactive", "validate", "eval-lm", "preprocess", "score")
#: command -> (module of ours with `main(arguments)`, what it does)
OUR_COMMANDS = {
    "analyze": (".analysis.analyze", "gradients, similarities, variances and learned weights, layer by layer"),
    "average-checkpoints": (".average_checkpoints", "the average of several checkpoints' parameters"),
    "bleu": (".evaluation.bleu", "SacreBLEU of fairseq-generate's output, with its signature"),
    "completion": (".commands.completion", "completion of this command, for the shell that is named"),
    "convert": (".interchange.incoming.command", "another code's checkpoint as ours: B2T's, ResiDual's, Admin's, …"),
    "dlcl-weights": (
        ".analysis.weights",
        "the layer combination that a DLCL checkpoint has learned, also as a figure",
    ),
    "depth-check": (".analysis.depth_check", "gradients, variances and first losses of all connections"),
    "doctor": (".commands.doctor", "is this environment sound? versions, devices, kernels, and how to fix what is not"),
    "export": (".interchange.outgoing.export", "a trained model for other programs: safetensors, CTranslate2"),
    "paper-train": (".experiments.train", "the paper's training on any number of GPUs, with its effective batch"),
    "paper-evaluate": (".experiments.evaluate", "average, decode and score: the paper's table row"),
    "patches": (".patches.listing", "what we change in fairseq: what, why, and whether it is active here"),
    "perplexity": (".evaluation.perplexity", "perplexity per word of eval-lm's output, of complete texts only"),
    "prepare": (".experiments.prepare", "the paper's corpora, fetched, checked and binarised"),
    "quickstart": (".experiments.quickstart", "corpus, training, averaging, decoding and scores in one go"),
    "reproduce": (".experiments.reproduce", "the paper's tables, figures and findings, at laptop or paper scale"),
    "rouge": (".evaluation.rouge", "ROUGE F1 of fairseq-generate's output, with confidence intervals"),
    "transcribe": (".transcribe", "WAV and FLAC files to text, by a trained speech recogniser"),
    "wer": (".evaluation.wer", "word and character error rate of fairseq-generate's output, with counts"),
}
OUR_PATH = sys.modules[__package__].__path__[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (fairseq's own commands may also leave by `SystemExit`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(versions())
        return 0
    if arguments[0] == "--user-dir":
        print(OUR_PATH)
        return 0
    return guarded(lambda: run(arguments[0], arguments[1:]))


def run(command: str, arguments: list[str]) -> int | None:
    """Run `command` of ours or of fairseq's with `arguments`."""
    if command not in FAIRSEQ_COMMANDS and command not in OUR_COMMANDS:
        known = [*FAIRSEQ_COMMANDS, *OUR_COMMANDS]
        near = difflib.get_close_matches(command, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "choose from " + ", ".join(known)
        raise UserError(f"unknown command '{command}': {hint}")
    before_further = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if {"-h", "--help"} & set(before_further):
        from .commands import full_help

        return full_help.show(command, arguments)
    return start(command, arguments)


def start(command: str, arguments: list[str]) -> int | None:
    """Run a known command."""
    from .commands import of_fairseq

    with of_fairseq.one_line_refusals():
        if command in OUR_COMMANDS:
            return importlib.import_module(OUR_COMMANDS[command][0], __package__).main(arguments)
        return of_fairseq.run(command, arguments)


def usage() -> str:
    """Return what `--help` prints."""
    ours = "\n".join(f"  {name:<20} {text}" for name, (_, text) in OUR_COMMANDS.items())
    return (
        "usage: b2t-fairseq COMMAND ARGUMENTS…   (or: python -m b2t_fairseq COMMAND ARGUMENTS…)\n\n"
        "example: b2t-fairseq train data-bin --arch transformer_b2t_18_18 --max-tokens 4096 …\n\n"
        "fairseq's own commands, with --user-dir filled in:\n"
        f"  {'  '.join(FAIRSEQ_COMMANDS)}\n\nours:\n{ours}\n\n"
        "b2t-fairseq COMMAND --help lists the command's options, with an example.\n\noptions:\n"
        "  -h, --help           this text\n"
        "  --version            the versions of the package, fairseq and torch\n"
        "  --user-dir           the folder for fairseq's own commands: "
        'fairseq-train --user-dir "$(b2t-fairseq --user-dir)" …'
    )


def versions() -> str:
    """Return `b2t_fairseq 0.1.0 (ve-fairseq 0.12.3, torch 2.13.0)`."""
    parts = []
    for name in ("ve-fairseq", "fairseq-fixed", "fairseq", "torch"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"b2t_fairseq {__version__} ({', '.join(parts)})"


if __name__ == "__main__":
    sys.exit(main())
