"""ROUGE-1, ROUGE-2 and ROUGE-L of headlines: F1 by the package rouge-score, with Porter's stemmer, in percent.

The mean over the headlines comes with a 95 % confidence interval from a bootstrap over the headlines; its random
numbers are seeded, so the interval is as reproducible as the score.
"""

import importlib.metadata
import sys
from collections.abc import Sequence

import numpy

from ..common.command_line import guarded, not_negative, positive
from ..common.errors import UserError
from ..common.optional import require
from .generated import scored_files, scoring_parser
from .score import Score, check_sides

METRICS = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}


def corpus_rouge(
    hypotheses: Sequence[str],
    references: Sequence[str],
    samples: int = 1000,
    seed: int = 1,
    wordless_as_zero: bool = False,
) -> dict[str, Score]:
    """Compute ROUGE of `hypotheses` against one reference each.

    Args:
        hypotheses: headlines, in the order of the references; an empty one scores 0.
        references: the true headlines.
        samples: how often the headlines are drawn anew for the confidence interval.
        seed: of those draws.
        wordless_as_zero: a reference without a word that ROUGE sees scores 0 and is counted, instead of being refused:
            for a published test set, from which no pair can be taken.

    Returns:
        A score for each of `METRICS`; `counts` holds the number of sentences and the ends of the interval.

    Raises:
        UserError: if the counts differ, or a reference has no word that ROUGE sees (letters a-z and digits) and
            is to be refused.
    """
    check_sides(hypotheses, references, "ROUGE")
    if samples < 1:
        raise UserError(f"{samples} bootstrap samples give no interval: 1 is the least, 1000 are usual")
    values, wordless = sentence_scores(hypotheses, references, wordless_as_zero)
    draws = numpy.random.default_rng(seed).integers(len(references), size=(samples, len(references)))
    signature = (
        f"f1|stem:porter|nrefs:1|sentences:{len(references)}|ci:95%|bootstrap:{samples}|seed:{seed}"
        f"|rouge-score:{importlib.metadata.version('rouge-score')}"
    )
    scores = {}
    for place, name in enumerate(METRICS):
        low, high = numpy.percentile(values[draws, place].mean(axis=1), [2.5, 97.5])
        counts = {"sentences": len(references), "low": round(float(low), 2), "high": round(float(high), 2)}
        if wordless_as_zero:
            counts["references without a word"] = wordless
        scores[name] = Score(
            round(float(values[:, place].mean()), 2), f"[{counts['low']:.2f}, {counts['high']:.2f}] {signature}", counts
        )
    return scores


def sentence_scores(
    hypotheses: Sequence[str], references: Sequence[str], wordless_as_zero: bool = False
) -> tuple[numpy.ndarray, int]:
    """Compute F1 in percent, a row a headline, a column for each of `METRICS`; count the references without a word."""
    rouge_scorer = require("rouge_score.rouge_scorer", "summarization", "ROUGE scores")
    tokenizer = require("rouge_score.tokenizers", "summarization", "ROUGE scores").DefaultTokenizer(use_stemmer=True)
    wordless = [number for number, reference in enumerate(references, 1) if not tokenizer.tokenize(reference)]
    if wordless and not wordless_as_zero:
        raise UserError(
            f"reference line {wordless[0]} ({references[wordless[0] - 1][:40]!r}) has no letter a-z and no digit, "
            "which is all that ROUGE counts: remove the pair from the test set"
        )
    scorer = rouge_scorer.RougeScorer(list(METRICS.values()), tokenizer=tokenizer)
    pairs = zip(hypotheses, references, strict=True)
    results = [scorer.score(target=reference, prediction=hypothesis) for hypothesis, reference in pairs]
    values = 100 * numpy.array([[score[key].fmeasure for key in METRICS.values()] for score in results])
    return values, len(wordless)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a file, as in `b2t-fairseq rouge --hypotheses gen.out --references test.title`."""
    parser = scoring_parser("rouge", __doc__)
    add = parser.add_argument
    add("--bootstrap", type=positive, default=1000, metavar="N", help="samples (default: %(default)s)")
    add("--seed", type=not_negative, default=1, metavar="N", help="of the samples (default: %(default)s)")
    options = parser.parse_args(arguments)
    scored_files(options, "ROUGE", lambda *sides: corpus_rouge(*sides, samples=options.bootstrap, seed=options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
