"""Perplexity per word of a language model, from what `fairseq-eval-lm` printed, and only if it scored every token.

One sum of negative log-likelihoods, divided by two counts. *ppl* divides by tokens, that is words and line ends: what
is published for WikiText. *word ppl* divides by the words alone, so that models of different subwords can be compared.
`<unk>` is a word like any other.
"""

import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..common.command_line import Parser, guarded, positive
from ..common.errors import UserError
from .generated import add_facts, publish
from .score import Score
from .text import read_lines, read_lines_as_fairseq

METRICS = ("ppl", "word ppl")
EVALUATED = re.compile(r"Evaluated (\d[\d,]{0,20}) tokens in ")
NUMBER = r"(-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan))"
LOSS = re.compile(rf"Loss \(base 2\): {NUMBER}, Perplexity: {NUMBER}")
LOSS_STEP, PERPLEXITY_STEP = 1e-4, 1e-2  # of the numbers that eval-lm prints
POST_PROCESS, ADDED_BOS = re.compile(r"'post_process': '([^']*)'"), "'add_bos_token': True"
OPTIONS = {"window": re.compile(r"'tokens_per_sample': (\d+)"), "context": re.compile(r"'context_window': (\d+)")}


class Evaluation(NamedTuple):
    """What eval-lm says at its end: bits for each token, tokens; and how long its window and the context in it were.

    Attributes:
        joined: with `--post-process`, the mark at the end of a subword that was not counted as a token of its own.
    """

    bits: float
    tokens: int
    window: str
    context: str
    joined: str = ""


def read_eval_lm(source: str | os.PathLike | Iterable[str]) -> Evaluation:
    """Read the output of one `fairseq-eval-lm`.

    Raises:
        UserError: it does not hold exactly one result, or left tokens out.
    """
    name = "the output of eval-lm"
    if isinstance(source, str | os.PathLike):
        name, source = str(source), read_lines(source)
    text = "\n".join(source)
    tokens, bits = EVALUATED.findall(text), LOSS.findall(text)
    if not tokens or not bits:
        raise UserError(f"{name} has no result ('Evaluated … tokens' and 'Loss'): did eval-lm come to its end?")
    if len(tokens) > 1 or len(bits) > 1:
        raise UserError(f"{name} has {len(tokens)} results: it is the output of more than one run")
    if "skipping tokens with inf scores" in text:
        raise UserError(f"{name}: tokens with an infinite loss were left out, so there is no perplexity")
    if ADDED_BOS in text:
        raise UserError(
            f"{name} was made with --add-bos-token, which counts tokens that the text does not have: run eval-lm "
            "without it"
        )
    values = {key: pattern.findall(text) for key, pattern in OPTIONS.items()}
    window = {key: value[0] if value else "unknown" for key, value in values.items()}
    joined = next(iter(POST_PROCESS.findall(text)), "").rstrip()
    return Evaluation(most_exact_bits(*map(float, bits[0])), int(tokens[0].replace(",", "")), **window, joined=joined)


def most_exact_bits(loss: float, perplexity: float) -> float:
    """Compute bits a token from both rounded numbers of eval-lm: for a high perplexity the second has more digits."""
    if not math.isfinite(loss) or not 0 < perplexity < math.inf:
        return loss
    return math.log2(perplexity) if PERPLEXITY_STEP / perplexity < LOSS_STEP * math.log(2) else loss


def corpus_perplexity(evaluation: Evaluation, lines: Sequence[str], words: int | None = None) -> dict[str, Score]:
    """Compute both perplexities of a text.

    Args:
        evaluation: what eval-lm said.
        lines: the text as it was binarised: tokens between spaces, a line end after each line.
        words: the number of words, if the tokens are subwords; else tokens are words.

    Raises:
        UserError: eval-lm scored another number of tokens than the text has, or the loss is not a number, or there
            cannot be so many words.
    """
    tokens = sum(len(line.split()) + 1 for line in lines)
    if words is not None and not 0 < words <= tokens:
        raise UserError(f"--words {words}: the text has {tokens:,} tokens, so it has between 1 and as many words")
    words = tokens - len(lines) if words is None else words
    if evaluation.tokens != tokens:
        raise UserError(
            f"eval-lm scored {evaluation.tokens:,} tokens, but the text has {tokens:,} with line ends: there is no "
            "perplexity of a part; leave out --sample-break-mode, and name the text that was binarised"
        )
    if evaluation.joined and any(word.endswith(evaluation.joined) for line in lines for word in line.split()):
        raise UserError(
            f"eval-lm was run with --post-process '{evaluation.joined} ', so its loss is one for each joined word: run "
            "it without that option, and give the number of words by --words"
        )
    if not words or not math.isfinite(evaluation.bits):
        raise UserError(f"no perplexity: {words} words, a loss of {evaluation.bits} bits")
    signature = f"eos:scored|unk:a word|window:{evaluation.window}|context:{evaluation.context}"
    counts = {"tokens": tokens, "words": words, "lines": len(lines), "bits_per_token": evaluation.bits}
    return {
        "ppl": Score(rounded(evaluation.bits), f"per:token|tokens:{tokens}|{signature}", counts),
        "word ppl": Score(rounded(evaluation.bits * tokens / words), f"per:word|words:{words}|{signature}", counts),
    }


def rounded(bits: float) -> float:
    """Return 2 ** bits with two decimals; infinity where a float ends."""
    return round(2**bits, 2) if bits < 1000 else math.inf


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a log, as in `b2t-fairseq perplexity --output eval-lm.log --text wiki.test.tokens`."""
    parser = Parser(prog="b2t-fairseq perplexity", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", required=True, metavar="FILE", help="what eval-lm printed")
    parser.add_argument("--text", required=True, metavar="FILE", help="the text that was binarised, tokens and spaces")
    parser.add_argument("--words", type=positive, metavar="N", help="words of the text, if its tokens are subwords")
    add_facts(parser)
    options = parser.parse_args(arguments)
    evaluation, text = read_eval_lm(options.output), read_lines_as_fairseq(options.text)
    publish(options, options.output, corpus_perplexity(evaluation, text, options.words))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
