"""SacreBLEU of a translation, from plain lists or from what ``fairseq-generate`` printed.

A score is only given for a complete translation: every sentence of the test set exactly once, in the test set's order.
"""

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError

#: `D-17 <TAB> -0.53 <TAB> text`: the detokenised hypothesis of sentence 17; H- is the same before detokenisation
HYPOTHESIS = re.compile(r"^([DH])-(\d+)\t[^\t]*\t(.*)$")


class Score(NamedTuple):
    """A BLEU score with what is needed to compare it: SacreBLEU's signature and its counts."""

    score: float
    signature: str
    counts: dict[str, int | list[int]]


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a") -> Score:
    """BLEU of ``hypotheses`` against one reference each.

    Args:
        hypotheses: detokenised sentences, in the order of the references.
        references: raw reference sentences.
        tokenize: SacreBLEU's tokenizer (`13a`; `zh`, `ja-mecab`, `char` for languages without spaces).

    Raises:
        UserError: if the counts differ or a reference is empty: then there is no score.
    """
    import sacrebleu

    if not references:
        raise UserError("the reference holds no sentence: BLEU is not defined")
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} hypotheses for {len(references)} references: BLEU needs one for each")
    for number, reference in enumerate(references, 1):
        if not reference.strip():
            raise UserError(f"reference line {number} is empty: remove the pair from the test set")
    metric = sacrebleu.BLEU(tokenize=tokenize)
    result = metric.corpus_score(list(hypotheses), [list(references)])
    counts = {
        "sentences": len(references),
        "correct": list(result.counts),
        "total": list(result.totals),
        "hypothesis_words": result.sys_len,
        "reference_words": result.ref_len,
    }
    return Score(round(result.score, 2), str(metric.get_signature()), counts)


def read_generate_output(source: str | os.PathLike | Iterable[str]) -> list[str]:
    """The best hypothesis of each sentence of ``fairseq-generate``'s output, in the order of the test set.

    Args:
        source: the file, or its lines. ``D-`` lines (detokenised) are read; ``H-`` lines only if there are no others.
            With ``--nbest`` the first hypothesis of a sentence, which is the best, is taken.

    Raises:
        UserError: if a sentence number between 0 and the highest is missing, or one comes from two different runs.
    """
    name = "the output of generate"
    if isinstance(source, str | os.PathLike):
        name, source = str(source), read_lines(source)
    found: dict[str, dict[int, str]] = {"D": {}, "H": {}}
    order: dict[str, list[int]] = {"D": [], "H": []}
    for line in source:
        match = HYPOTHESIS.match(line.rstrip("\n"))
        if match:
            kind, number, text = match[1], int(match[2]), match[3]
            found[kind].setdefault(number, text)
            if order[kind][-1:] != [number]:
                order[kind].append(number)
    kind = "D" if found["D"] else "H"
    sentences = found[kind]
    if not sentences:
        raise UserError(f"{name} holds no hypothesis (no D- or H- line): was it written by generate?")
    if len(order[kind]) != len(sentences):
        twice = next(number for number, times in Counter(order[kind]).items() if times > 1)
        raise UserError(f"{name} holds sentence {twice} more than once: it is the output of more than one run")
    missing = sorted(set(range(max(sentences) + 1)) - set(sentences))
    if missing:
        raise UserError(
            f"{name} lacks {len(missing)} of {max(sentences) + 1} sentences, the first is number {missing[0]}"
        )
    return [sentences[number] for number in range(len(sentences))]


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a UTF-8 text file, ended by line feeds only (``splitlines`` would also cut at U+2028)."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8 (byte {error.start}): convert it first") from error
    return text.removesuffix("\n").split("\n") if text else []


def line(score: Score, split: str, checkpoint: str, connection: str) -> str:
    """The score as a line that can stand alone: ``BLEU 31.20 | split:… | checkpoint:… | connection:… | nrefs:1|…``."""
    return f"BLEU {score.score:.2f} | split:{split} | checkpoint:{checkpoint} | {connection} | {score.signature}"


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m b2t_fairseq.cli bleu --hypotheses gen.out --references test.de``."""
    parser = argparse.ArgumentParser(prog="b2t-fairseq bleu", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--hypotheses", required=True, metavar="FILE", help="what generate printed, or one sentence a line"
    )
    parser.add_argument("--references", required=True, metavar="FILE", help="raw references, one sentence a line")
    parser.add_argument("--tokenize", default="13a", help="SacreBLEU's tokenizer (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="--hypotheses holds one plain sentence a line")
    parser.add_argument("--split", default="test", help="name of the test set, shown with the score")
    parser.add_argument("--checkpoint", default="unknown", help="name of the checkpoint, shown with the score")
    parser.add_argument("--connection", default="unknown", help="connection or whole signature, shown with the score")
    parser.add_argument("--json", metavar="FILE", help="also write the score to this file")
    options = parser.parse_args(arguments)
    hypotheses = (read_lines if options.plain else read_generate_output)(options.hypotheses)
    score = corpus_bleu(hypotheses, read_lines(options.references), options.tokenize)
    connection = options.connection if ":" in options.connection else f"connection:{options.connection}"
    print(line(score, options.split, options.checkpoint, connection))
    if options.json:
        facts = {"split": options.split, "checkpoint": options.checkpoint, "connection": connection}
        temporary = Path(f"{options.json}.tmp")
        temporary.write_text(json.dumps({**score._asdict(), **facts}, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, options.json)
    return 0


if __name__ == "__main__":
    from ..cli import guarded

    sys.exit(guarded(main))
