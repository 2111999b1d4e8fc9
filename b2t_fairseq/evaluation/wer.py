"""Word and character error rates of a recogniser, with fairseq S2T's normalisation and the counts behind them.

    rate = (substitutions + deletions + insertions) / reference words

Normalised as by fairseq's `--scoring wer --wer-lowercase --wer-remove-punct`: lower case, and words that are nothing
but punctuation are taken out (the apostrophe of *don't* stays). In the character rate, spaces count as characters.
"""

import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from ..common.command_line import guarded
from ..common.errors import UserError
from ..common.optional import require
from ..corpora.speech.manifest import read_manifest
from ..corpora.speech.transcripts import characters, words
from .generated import TARGET, publish, read_generate_output, scoring_parser, sentence_number
from .score import Score, check_sides
from .text import read_lines, refuse_unjoined


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Compute the word error rate in percent.

    Args:
        hypotheses: what was recognised, in the order of the references.
        references: what was said.

    Raises:
        UserError: if the counts differ, or a reference has no word that counts: then there is no score.
    """
    return error_rate(hypotheses, references, words, "word")


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Compute the character error rate in percent, spaces included; as `word_error_rate`."""
    return error_rate(hypotheses, references, characters, "character")


def error_rate(
    hypotheses: Sequence[str], references: Sequence[str], split: Callable[[str], list[str]], level: str
) -> Score:
    """Compute the error rate of the items that `split` makes of a text."""
    jiwer = require("jiwer", "speech", "error rates")
    check_sides(hypotheses, references, "an error rate")
    said, heard = ([" ".join(split(text)) for text in side] for side in (references, hypotheses))
    if empty := [number for number, text in enumerate(said, 1) if not text]:
        raise UserError(f"reference line {empty[0]} holds nothing but punctuation: remove it from the test set")
    alignment = jiwer.process_words(said, heard)
    errors = {
        "substitutions": alignment.substitutions,
        "deletions": alignment.deletions,
        "insertions": alignment.insertions,
    }
    total = alignment.hits + alignment.substitutions + alignment.deletions
    counts = {"utterances": len(references), f"reference_{level}s": total, **errors}
    summary = " + ".join(f"{count} {kind}" for kind, count in errors.items())
    version = importlib.metadata.version("jiwer")
    signature = f"[{summary} in {total} {level}s] level:{level}|case:lower|punctuation:removed|jiwer:{version}"
    return Score(round(100 * sum(errors.values()) / total, 2), signature, counts)


def word_errors(hypotheses: Sequence[str], references: Sequence[str]) -> list[tuple[int, int]]:
    """Return the errors and the reference words of each utterance, which the word error rate sums up."""
    jiwer = require("jiwer", "speech", "error rates")
    counts = []
    for heard, said in zip(hypotheses, references, strict=True):
        alignment = jiwer.process_words(" ".join(words(said)), " ".join(words(heard)))
        errors = alignment.substitutions + alignment.deletions + alignment.insertions
        counts.append((errors, alignment.hits + alignment.substitutions + alignment.deletions))
    return counts


def error_rates(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Compute WER and CER."""
    return {
        "WER": word_error_rate(hypotheses, references),
        "CER": character_error_rate(hypotheses, references),
    }


def read_recognised(source: str | os.PathLike | Iterable[str], references: Sequence[str]) -> list[str]:
    """Return the hypotheses in `fairseq-generate`'s output, in the order of the references, which its T- lines must be.

    Raises:
        UserError: an utterance is missing or there twice, or the output belongs to other references or another order.
    """
    lines = read_lines(source) if isinstance(source, str | os.PathLike) else [text.rstrip("\n") for text in source]
    name = source if isinstance(source, str | os.PathLike) else "the output of generate"
    hypotheses = read_generate_output(lines)
    for match in filter(None, map(TARGET.match, lines)):
        number, target = sentence_number(match[1], str(name)), detokenised(match[2])
        if number < len(references) and "<unk>" not in target and words(target) != words(references[number]):
            raise UserError(
                f"{name}: utterance {number} was decoded for the reference '{target}', but line {number + 1} of the "
                f"references is '{references[number]}': they are of another test set or in another order"
            )
    return hypotheses


def detokenised(text: str) -> str:
    """Join sentence pieces; plain text stays."""
    return text.replace(" ", "").replace("▁", " ").strip() if "▁" in text else text


def read_references(path: str | os.PathLike) -> list[str]:
    """Read the texts of a manifest (.tsv), or the lines of any other file."""
    return [row["tgt_text"] for row in read_manifest(path)] if str(path).endswith(".tsv") else read_lines(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a file, as in `b2t-fairseq wer --hypotheses gen.out --references DATA/test.tsv`."""
    parser = scoring_parser("wer", __doc__)
    options = parser.parse_args(arguments)
    references = read_references(options.references)
    hypotheses = read_lines(options.hypotheses) if options.plain else read_recognised(options.hypotheses, references)
    refuse_unjoined(hypotheses, references, "error rate")
    publish(options, options.hypotheses, error_rates(hypotheses, references))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
