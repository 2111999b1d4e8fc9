"""Where the parts of a trained model are: checkpoint, dictionaries, subwords, of a run's folder, a file or a bundle.

The checkpoint's word is not taken for it. Its vocabulary is: among the data folders near by, the one counts whose
dictionaries have the hash that the checkpoint notes.
"""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from fairseq.data import Dictionary

from ..checkpoints import bundles, integrity
from ..checkpoints.arguments import model_argument
from ..checkpoints.loading import load_checkpoint
from ..checkpoints.vocabulary import describe
from ..common.errors import UserError

#: in a run's folder, the first that is there
CHECKPOINTS = (
    *("averaged.pt", "average.pt", "model.pt"),
    *("checkpoint_best.pt", "checkpoint_last.pt", "checkpoints/checkpoint_best.pt", "checkpoints/checkpoint_last.pt"),
)
DATA = ("", "bin", "data-bin", "data", "data-*", "data-*/bin", "data-bin/*", "data/*", "data/*/data-bin", "data/*/data")
SENTENCEPIECE = ("subwords.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model")
CODES = ("subwords.codes", "codes", "code", "bpecodes", "bpe.codes")
ENOUGH = 0.5  # of a dictionary's symbols, known to SentencePiece's model: chance has almost none, a cut one most
SPEECH = "speech_to_text"


@dataclass(frozen=True)
class Places:
    """Where a trained model's parts are.

    Attributes:
        checkpoint: a file, or a bundle's folder.
        data: the folder with the dictionaries.
        task: fairseq's name of the task.
        subwords: SentencePiece's model or subword-nmt's codes; None if the tokens are words, and of speech, whose
            config.yaml names it.
        kind: of the subwords, a name of `bundles.SUBWORDS`; None without.
    """

    checkpoint: Path
    data: Path
    task: str
    subwords: Path | None = None
    kind: str | None = None

    @property
    def is_bundle(self) -> bool:
        """Return whether all parts are those of a bundle."""
        return bundles.is_bundle(self.checkpoint)

    @property
    def overrides(self) -> dict[str, Any]:
        """Return what to tell fairseq beside the checkpoint."""
        if self.is_bundle:
            return bundles.overrides(self.checkpoint)
        found: dict[str, Any] = {"data": str(self.data)}
        if self.task == SPEECH:
            found["config_yaml"] = bundles.AUDIO
        if self.kind is not None:
            found |= {"bpe": self.kind, bundles.SUBWORDS[self.kind][1]: str(self.subwords)}
        return found


def find(
    source: str | os.PathLike, data: str | os.PathLike | None = None, subwords: str | os.PathLike | None = None
) -> Places:
    """Find the parts of a trained model.

    Args:
        source: a run's folder, a checkpoint file, or a bundle.
        data: the data folder, if it shall not be searched for.
        subwords: the same of the subwords.

    Raises:
        UserError: one of them is missing; names it.
    """
    checkpoint = find_checkpoint(Path(source))
    if bundles.is_bundle(checkpoint):
        if data or subwords:
            raise UserError(
                f"{checkpoint} is a bundle, which has its own dictionaries and subwords: name none beside it"
            )
        state = load_checkpoint(checkpoint)
        return Places(checkpoint, checkpoint, str(task_of(state)))
    state = load_checkpoint(checkpoint, mapped=integrity.is_archive(checkpoint))
    task = str(task_of(state))
    folder = named_data(Path(data), state) if data else search_data(checkpoint, state)
    if task == SPEECH:
        if subwords:
            raise UserError(f"{subwords}: of speech, config.yaml in {folder} names the subwords; leave them out")
        return Places(checkpoint, folder, task)
    found, kind = find_subwords(checkpoint, folder, dictionaries(folder, state), subwords)
    return Places(checkpoint, folder, task, found, kind)


def find_checkpoint(source: Path) -> Path:
    """Return the checkpoint file, or the bundle, that a path leads to.

    Raises:
        UserError: there is none, or more than one.
    """
    if source.is_file() or bundles.is_bundle(source):
        return source
    if not source.is_dir():
        similar = [path for path in sorted(source.parent.glob(f"{source.name}-*")) if is_model(path)]
        if not similar:
            raise UserError(f"{source}: no such file or folder; name a run's folder, a checkpoint or a bundle")
        return the_only(source, similar)
    for name in CHECKPOINTS:
        if (source / name).is_file():
            return source / name
    inside = [*sorted(source.glob("*.pt")), *(path for path in sorted(source.iterdir()) if is_model(path))]
    if not inside:
        expected = ", ".join(CHECKPOINTS[:5])
        raise UserError(f"{source}: no checkpoint in it ({expected}, …): name the file, or the folder that has one")
    return the_only(source, inside)


def is_model(path: Path) -> bool:
    """Return whether a path is a run's folder or a bundle."""
    return path.is_dir() and (bundles.is_bundle(path) or any((path / name).is_file() for name in CHECKPOINTS))


def the_only(source: Path, found: Sequence[Path]) -> Path:
    """Return the checkpoint of the only one.

    Raises:
        UserError: there are several.
    """
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:5]) + (", …" if len(found) > 5 else "")
        raise UserError(f"{source}: {len(found)} models: name one of {names}")
    return find_checkpoint(found[0])


def task_option(state: Mapping[str, Any], name: str) -> Any:
    """Return an option of the task of a loaded checkpoint; None if it has none."""
    options = (state.get("cfg") or {}).get("task") or state.get("args") or {}
    options = vars(options) if isinstance(options, Namespace) else options
    return options.get(name) if isinstance(options, Mapping) else None


def task_of(state: Mapping[str, Any]) -> Any:
    """Return the name of the task of a loaded checkpoint; fairseq before 0.10 has it among the other options."""
    return task_option(state, "_name") or task_option(state, "task")


def named_data(data: Path, state: Mapping[str, Any]) -> Path:
    """Return the folder with the dictionaries that the user has named, or the one around it.

    Raises:
        UserError: there are none.
    """
    for folder in (data, data / "bin", data / "data-bin", data / "data"):
        if dictionaries(folder, state):
            return folder
    raise UserError(f"{data}: no {' or '.join(names_of(state))} in it: name the data folder of the training")


def search_data(checkpoint: Path, state: Mapping[str, Any]) -> Path:
    """Return the data folder near a checkpoint whose dictionaries are the checkpoint's.

    Raises:
        UserError: there is none, or several and the checkpoint does not note its vocabulary.
    """
    vocabulary = model_argument(state, "vocabulary")
    near = [folder for folder in near_by(checkpoint) if dictionaries(folder, state)]
    fitting = [folder for folder in near if fits(folder, state, vocabulary)]
    if fitting and (vocabulary or len(fitting) == 1):
        return fitting[0]
    wanted = f"dictionaries ({' and '.join(names_of(state))}"
    wanted += f"; {vocabulary})" if vocabulary else ")"
    if fitting:
        raise UserError(
            f"{checkpoint}: does not note its vocabulary, and there are several data folders near by "
            f"({', '.join(map(str, fitting[:3]))}): name the one of its training, data=FOLDER or --data FOLDER"
        )
    named = task_option(state, "data")
    hint = f" (the checkpoint names {named})" if named else ""
    raise UserError(f"{checkpoint}: no folder near by has its {wanted}: name it, data=FOLDER or --data FOLDER{hint}")


def near_by(checkpoint: Path) -> Iterator[Path]:
    """Yield the folders in which a training's data may be."""
    run = checkpoint.absolute().parent
    seen = set()
    for base in (run, run.parent, run.parent.parent, Path.cwd()):
        for pattern in DATA:
            for folder in sorted(base.glob(pattern)) if pattern else [base]:
                if folder.is_dir() and folder not in seen:
                    seen.add(folder)
                    yield folder


def names_of(state: Mapping[str, Any]) -> list[str]:
    """Return the names of the dictionaries that a task reads; an asterisk for a language that is not noted."""
    if task_of(state) in ("translation", None):
        languages = [task_option(state, f"{side}_lang") or "*" for side in ("source", "target")]
        return [f"dict.{language}.txt" for language in languages]
    return ["dict.txt"]


def dictionaries(folder: Path, state: Mapping[str, Any]) -> list[Path]:
    """Return the dictionaries of a data folder; none if one is missing."""
    names = names_of(state)
    if task_of(state) == SPEECH:
        if not (folder / bundles.AUDIO).is_file():
            return []
        names = [audio_config(folder / bundles.AUDIO).get("vocab_filename", "dict.txt")]
    found = [path for name in dict.fromkeys(names) for path in sorted(folder.glob(name)) if path.is_file()]
    return found if len(found) >= len(set(names)) else []


def audio_config(path: Path) -> dict[str, Any]:
    """Read config.yaml of a speech corpus.

    Raises:
        UserError: it is not YAML, or holds something else.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid YAML ({' '.join(str(error).split())}): prepare the folder again"
        ) from None
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold names and values: prepare the folder again")
    return config


def fits(folder: Path, state: Mapping[str, Any], vocabulary: str | None) -> bool:
    """Return whether a folder's dictionaries have the vocabulary that a checkpoint notes, if it does."""
    if not vocabulary:
        return True
    try:
        described = describe(*(Dictionary.load(str(path)) for path in dictionaries(folder, state)))
    except (OSError, ValueError, RuntimeError):  # a damaged one is not the one
        return False
    return vocabulary == described or vocabulary.startswith(f"{described} and ")  # the second: a truncated one


def find_subwords(
    checkpoint: Path, data: Path, dictionary_files: Sequence[Path], given: str | os.PathLike | None
) -> tuple[Path | None, str | None]:
    """Return the file of the subwords and its kind; twice None if the tokens are words.

    Raises:
        UserError: the dictionary has subwords and their file is missing, or the given file is not theirs.
    """
    symbols = {symbol for path in dictionary_files for symbol in Dictionary.load(str(path)).symbols[4:]}
    if given:
        path = Path(given)
        if not path.is_file():
            raise UserError(f"{path}: no such file; name SentencePiece's model, or the codes of subword-nmt")
        kind = kind_of(path, symbols)
        if kind is None:
            raise UserError(f"{path}: not the subwords of {dictionary_files[0]}: name those of the training")
        return path, kind
    if any(symbol.startswith("▁") for symbol in symbols):
        names, what = SENTENCEPIECE, "SentencePiece's model"
    elif any(symbol.endswith("@@") for symbol in symbols):
        names, what = CODES, "the codes of subword-nmt"
    else:
        return None, None
    run = checkpoint.absolute().parent
    for folder in (data, data.parent, run, run.parent):
        for path in (folder / name for name in names):
            if path.is_file() and (kind := kind_of(path, symbols)):
                return path, kind
    raise UserError(
        f"{data}: its dictionary has subwords, and {what} ({', '.join(names[:2])}, …) is not beside it: name the file, "
        "subwords=FILE or --subwords FILE"
    )


def kind_of(path: Path, symbols: set[str]) -> str | None:
    """Return the kind of a file of subwords; None if it is not one, or not the one of these symbols."""
    with open(path, "rb") as file:
        if file.read(9) == b"#version:":
            return "subword_nmt"
    import sentencepiece

    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError):
        return None
    known = {model.id_to_piece(i) for i in range(model.get_piece_size())}
    real = {symbol for symbol in symbols if not symbol.startswith("madeupword")}
    return "sentencepiece" if len(known & real) >= ENOUGH * len(real) else None
