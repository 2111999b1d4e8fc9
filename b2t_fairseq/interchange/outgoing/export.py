"""Trained models as files that other programs serve.

b2t-fairseq export RUN_OR_CHECKPOINT DIR --format safetensors     a bundle: all parts, checksums, no pickle
b2t-fairseq export RUN_OR_CHECKPOINT DIR --format ctranslate2     for CTranslate2, if it computes the same
"""

import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...common.command_line import Parser, guarded
from ...common.errors import UserError
from ...common.optional import require
from ...connections.own_module import import_connection_module
from ...evaluation.bleu import corpus_bleu
from ...evaluation.text import read_lines
from ..places import find
from ..trained import Trained, open_model
from . import bundle, ctranslate

FORMATS = ("safetensors", "ctranslate2", "onnx", "fsmt")
REFUSED = {
    "onnx": "--format onnx is not supported: a graph without the beam search and its caches would serve nobody; "
    "--format ctranslate2 gives a model with its own fast search, --format safetensors plain weights",
    "fsmt": "--format fsmt is not supported: Hugging Face's FSMT is Post-LN alone, and its tokenizer knows Moses and "
    "BPE merges but not SentencePiece, so it would not translate the same; --format ctranslate2 does, for Post-LN",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one model."""
    options = parse(arguments)
    if options.format in REFUSED:
        raise UserError(REFUSED[options.format])
    require("safetensors.torch" if options.format == "safetensors" else "ctranslate2", "export", "exports")
    logging.root.setLevel(logging.WARNING)  # fairseq tells about its dictionary, and more
    if options.connection_module:
        import_connection_module(options.connection_module)
    places = find(options.path, options.data, options.subwords)
    folder = options.folder or places.checkpoint.absolute().parent / f"export-{options.format}"
    check_folder(folder)
    model = open_model(places, options.trust_checkpoint)
    if options.format == "safetensors":
        names = bundle.write(model, folder)
    else:
        names = ctranslate.write(model, folder, options.quantization)
    print(f"{folder}: {', '.join(names)} | {model.signature or 'no signature'}")
    if options.quantization:
        compare(model, folder, options.quantization, find_test(model, options.test))
    return 0


def parse(arguments: Sequence[str] | None):
    """Parse the command line; mistakes are one line."""
    usage = "b2t-fairseq export RUN_OR_CHECKPOINT DIR --format safetensors|ctranslate2 [options]"
    parser = Parser(prog="b2t-fairseq export", usage=usage, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("source", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, a checkpoint file, or a bundle")
    add("folder", nargs="?", metavar="DIR", help="what to write (default: export-FORMAT beside the checkpoint)")
    add("--path", metavar="RUN_OR_CHECKPOINT", help="the same as the first argument; then DIR is the only one")
    add("--format", required=True, choices=FORMATS, metavar="NAME", help="safetensors or ctranslate2")
    add("--data", metavar="DIR", help="the data folder with the dictionaries (default: searched for near by)")
    add("--subwords", metavar="FILE", help="SentencePiece's model, or subword-nmt's codes (default: beside the data)")
    kinds = ", ".join(ctranslate.QUANTIZATIONS)
    add("--quantization", choices=ctranslate.QUANTIZATIONS, metavar="KIND", help=f"of ctranslate2: {kinds}")
    test = "raw test set on which BLEU is printed beside float32's (default: test.* of the data folder)"
    add("--test", nargs=2, metavar=("SOURCE", "REFERENCE"), help=test)
    add("--connection-module", metavar="NAME_OR_PATH", help="your own module that defines the connection; it is run")
    add("--trust-checkpoint", action="store_true", help="take the checkpoint's word for classes, files and modules")
    options = parser.parse_args(arguments)
    given = [place for place in (options.path, options.source, options.folder) if place is not None]
    if not given or len(given) > 2:
        raise UserError(f"name a run or a checkpoint, and a folder to write: {usage}")
    options.path, options.folder = given[0], Path(given[1]) if len(given) == 2 else None
    for name in ("quantization", "test"):
        if getattr(options, name) and options.format != "ctranslate2":
            raise UserError(f"--{name} goes with --format ctranslate2; leave it out")
    if options.test and not options.quantization:
        raise UserError("--test goes with --quantization, whose BLEU it measures; leave it out")
    return options


def check_folder(folder: Path) -> None:
    """Refuse a folder that has something in it.

    Raises:
        UserError: it has, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already: remove it, or name another folder")


def find_test(model: Trained, given: Sequence[str] | None) -> tuple[Path, Path] | None:
    """Return the raw test set, source and references; None if there is none near by.

    Raises:
        UserError: a given file does not exist.
    """
    if given:
        for path in given:
            if not Path(path).is_file():
                raise UserError(f"--test: {path}: no such file")
        return Path(given[0]), Path(given[1])
    languages, data = (model.task.cfg.source_lang, model.task.cfg.target_lang), model.places.data
    for folder in (data, data.parent):
        files = [folder / f"test.{language}" for language in languages]
        if all(path.is_file() for path in files):
            return files[0], files[1]
    return None


def compare(model: Trained, folder: Path, quantization: str, test: tuple[Path, Path] | None) -> None:
    """Print BLEU of the quantised model and of the same in float32, both by CTranslate2 with beam 5."""
    if test is None:
        print("no test set near by, so no BLEU: --test SOURCE REFERENCE names one")
        return
    sources, references = read_lines(test[0]), read_lines(test[1])
    encoded = [model.hub.apply_bpe(model.hub.tokenize(line)).split() for line in sources]
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary) / "float32"
        ctranslate.write(model, full)
        for name, place in ((quantization, folder), ("float32", full)):
            lines = ctranslate.translate(place, encoded, "default" if place is folder else "float32")
            texts = [model.hub.detokenize(model.hub.remove_bpe(" ".join(line))) for line in lines]
            score = corpus_bleu(texts, references)
            print(f"BLEU {score.score:.2f} | {name} | {test[0].name} | {model.signature} | {score.signature}")


if __name__ == "__main__":
    sys.exit(guarded(main))
