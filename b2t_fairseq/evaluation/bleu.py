"""SacreBLEU of a translation, from plain lists or from what `fairseq-generate` printed.

A score is only given for a complete translation: every sentence of the test set exactly once, in the test set's order.
"""

import sys
from collections.abc import Sequence

from ..common.command_line import guarded
from . import score as scores
from .generated import read_generate_output, scored_files, scoring_parser
from .score import Score, check_sides

__all__ = ["Score", "corpus_bleu", "main", "read_generate_output"]


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a") -> Score:
    """Compute BLEU of `hypotheses` against one reference each.

    Args:
        hypotheses: detokenised sentences, in the order of the references.
        references: raw reference sentences.
        tokenize: SacreBLEU's tokenizer (`13a`; `zh`, `ja-mecab`, `char` for languages without spaces).

    Raises:
        UserError: if the counts differ or a reference is empty: then there is no score.
    """
    import sacrebleu

    check_sides(hypotheses, references, "BLEU")
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


def line(score: Score, split: str, checkpoint: str, connection: str) -> str:
    """Return `score.line` of BLEU."""
    return scores.line("BLEU", score, split, checkpoint, connection)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a file, as in `b2t-fairseq bleu --hypotheses gen.out --references test.de`."""
    parser = scoring_parser("bleu", __doc__)
    parser.add_argument("--tokenize", default="13a", help="SacreBLEU's tokenizer (default: %(default)s)")
    options = parser.parse_args(arguments)
    scored_files(options, "BLEU", lambda system, truth: {"BLEU": corpus_bleu(system, truth, options.tokenize)})
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
