"""What fairseq and its libraries say of a user's mistake, in words that name the option or file and what to do."""

import re
from collections.abc import Sequence
from typing import NamedTuple


class Known(NamedTuple):
    """One error.

    Attributes:
        kind: the name of its class.
        pattern: of its text.
        line: what to show; {0} is the text, {1} the pattern's first group.
        module: the package or module that raises it, if any other may mean something else by it.
    """

    kind: str
    pattern: str
    line: str
    module: str = ""


JSON = "--eval-bleu-args, --eval-bleu-detok-args: must be a JSON object, such as '{{\"beam\": 4}}'"
NO_PATH = "--path is needed: the checkpoint of the trained model"
KNOWN: Sequence[Known] = (
    # "Dataset not found: train (DATA)" carries no file name
    Known("FileNotFoundError", "Dataset not found", "{0}; check the data folder in the command"),
    Known(
        "Exception",
        "Could not infer language pair",
        "the data folder holds no binarised language pair: check its path, or make it with `preprocess`",
    ),
    Known("AssertionError", "Must specify batch size", "no batch size given: add --max-tokens N (or --batch-size N)"),
    Known(
        "Exception",
        "The dataset is empty",
        "no sentence is left: the data set is empty, or all of its sentences are longer than --max-tokens, "
        "--max-source-positions or --max-target-positions allow",
    ),
    Known(
        "IndexError",
        "index out of range in self",
        "a word's number is beyond the vocabulary: data, dictionary and model do not belong together; check the data "
        "folder and --path",
    ),
    # options
    Known("RuntimeError", "^$", "no --arch given: add the model's architecture", "fairseq.options"),
    Known("ArgumentError", "conflicting option", "--arch and --task do not go together ({0})", "argparse"),
    Known("ArgumentError", "conflicting option", "--arch and --task do not go together ({0})", "fairseq"),
    Known("MissingMandatoryValue", r"Missing mandatory value: (?:\w+\.)*(\w+)", "--{1} is needed and not given"),
    Known("ConfigCompositionException", r"Error merging override \w+\.(\w+)=null", "--{1} is needed and not given"),
    Known("ConfigCompositionException", r"Error merging override \w+\.(\w+)=(.*)", "--{1} {2}: not of its type"),
    Known(
        "KeyError",
        "'(.*)'",
        "--best-checkpoint-metric {1}: validation reports no such number; take loss or ppl, or turn the metric on "
        "(bleu needs --eval-bleu)",
        "fairseq_cli.train",
    ),
    Known(
        "KeyError",
        "'(.*)'",
        "'{1}' is unknown: check --eval-bleu-detok, --tokenizer, --bpe and --scoring",
        "fairseq.registry",
    ),
    Known("JSONDecodeError", "", JSON, "fairseq.tasks.translation"),
    Known("TypeError", "after \\*\\* must be a mapping", JSON, "fairseq.tasks.translation"),
    Known("ZeroDivisionError", "", "--warmup-updates 0: this schedule divides by it; give at least 1", "fairseq.optim"),
    Known("TypeError", "betas|'float' object", "--adam-betas: must be two numbers: '(0.9, 0.98)'", "fairseq.optim"),
    Known(
        "NotImplementedError",
        "post_process option: (.*)",
        "--post-process {1}: unknown; take sentencepiece, subword_nmt, '@@ ' or letter",
        "fairseq",
    ),
    Known("StopIteration", "", "--encoder-embed-path, --decoder-embed-path: the file is empty", "fairseq.utils"),
    Known(
        "TypeError",
        r"forward\(\) (got an unexpected|missing)",
        "--arch, --task, --criterion and the checkpoints do not go together ({0})",
        "fairseq",
    ),
    Known("TypeError", "not iterable", "--constraints: only interactive reads them, after tabs", "fairseq.search"),
    Known(
        "AssertionError",
        "cannot specify cutoff larger than vocab",
        "--adaptive-softmax-cutoff, --adaptive-input-cutoff: a cutoff is larger than the vocabulary; lower it",
    ),
    Known("TypeError", "argument of type 'NoneType'", NO_PATH, "fairseq.utils"),
    Known("AttributeError", "no attribute 'replace'", NO_PATH, "fairseq.checkpoint_utils"),
    Known("AssertionError", "--path required", NO_PATH, "fairseq_cli"),
    Known(
        "ZeroDivisionError",
        "",
        "no sentence is left to translate: the data set is empty, or all of its sentences are too long for the model",
        "fairseq_cli.generate",
    ),
    Known(
        "TypeError",
        "NoneType",
        "config.yaml of the data folder: a name has no value ({0}); prepare the data again",
        "fairseq.tasks.speech_to_text",
    ),
    Known("KeyError", "'(.*)'", "--tokenize {1}: SacreBLEU has no such tokenizer", "sacrebleu"),
    Known("TypeError", "Scorer", "--sentence-bleu does not work in this fairseq; leave it out", "fairseq_cli.score"),
    Known("KeyError", r"'(\w+)'", "the model's settings lack '{1}'; with hydra choose model=NAME", "fairseq.models"),
    # packages and files
    Known("ModuleNotFoundError", r"No module named '([\w.]+)'", "an option needs the package {1}: pip install {1}"),
    Known("ImportError", "", "an option needs another package: {0}", "fairseq"),
    Known("OSError", "Model file not found: (.*)", "{1}: no such checkpoint; check --path and --lm-path"),
    Known("OSError", "file (.*) not found", "{1}: no such file; check the path in the command", "fairseq.file_utils"),
    Known(
        "RuntimeError",
        "could not parse ModelProto from (.*)",
        "{1}: not a SentencePiece model; check --sentencepiece-model",
    ),
    Known(
        "FileExistsError",
        r"(\S+)$",
        "{1} exists: preprocess does not write over it; remove it, choose another "
        "--destdir, or reuse it with --srcdict and --tgtdict",
        "fairseq_cli.preprocess",
    ),
    Known(
        "UnicodeDecodeError",
        "",
        "--input: the text is not UTF-8 ({0}); convert it, for example with iconv",
        "fairseq_cli.interactive",
    ),
    Known("UnicodeDecodeError", "", "the text is not UTF-8 ({0}); convert it, for example with iconv", "fairseq"),
)

#: options of the B2T authors' own code, and what they are here
THEIR_OPTIONS = {
    "--residual-bottom-to-top": "--arch transformer_b2t_18_18 (or transformer_lm_b2t_16; since May 2023 also "
    "--connection-init rescale)",
    "--no-layer-norm": "--connection b2t_no_ln",
    "--sampling-method": "--encoder-word-dropout and --decoder-word-dropout, for worddrop",
    "--enc-replace-rate": "--encoder-word-dropout RATE",
    "--dec-replace-rate": "--decoder-word-dropout RATE",
    "--min-lr": "--stop-min-lr",
    "--decay-val": "nothing: leave it out",
}


def hints(message: str) -> str:
    """Return what to write for the options of the B2T authors' own code that an error message names; else ""."""
    named = [option for option in THEIR_OPTIONS if re.search(rf"{option}(?![-\w])", message)]
    said = ", ".join(f"{option} is {THEIR_OPTIONS[option]}" for option in named)
    return f"; of the B2T authors' own code, here {said}" if said else ""


def translate(kind: str, text: str, module: str) -> str | None:
    """Return our line for an error of class `kind` with `text`, raised in `module`, or None if `KNOWN` has none."""
    for known in KNOWN:
        match = known.kind == kind and f"{module}.".startswith(known.module) and re.search(known.pattern, text)
        if match:
            line = known.line.format(text, *match.groups())
            return re.sub(r"--\w+", lambda option: option[0].replace("_", "-"), line)
    return None
