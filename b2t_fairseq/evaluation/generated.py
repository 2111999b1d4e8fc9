"""What `fairseq-generate` printed, read back in the test set's order, and the command line of all text metrics."""

import argparse
import html
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..common.command_line import Parser
from ..common.errors import UserError
from .score import Score, full_signature, line, write_json
from .text import read_lines, refuse_unjoined

#: `D-17 <TAB> -0.53 <TAB> text`: the detokenised hypothesis of sentence 17; H- is the same before detokenisation
HYPOTHESIS = re.compile(r"^([DH])-(\d+)\t[^\t]*\t(.*)$")
#: `T-17 <TAB> text`: the reference as the binarised data hold it
TARGET = re.compile(r"^T-(\d+)\t(.*)$")
#: what the log of generate or eval-lm says of the models it loads
FACTS = {
    "signature": re.compile(r"\| b2t_fairseq[\w.]* \| signature: (connection:\S+)$"),
    "checkpoint": re.compile(r"\| fairseq_cli\.\w+ \| loading model\(s\) from (\S.*)$"),
}
LONGEST_NUMBER = 12  # digits
UNKNOWN = "<unk>"  # stands in a target for what the vocabulary lacks: such a line cannot be compared


def read_generate_output(source: str | os.PathLike | Iterable[str]) -> list[str]:
    """Return the best hypothesis of each sentence of `fairseq-generate`'s output, in the order of the test set.

    Args:
        source: the file, or its lines. `D-` lines (detokenised) are read; `H-` lines only if there are no others.
            With `--nbest` the first hypothesis of a sentence, which is the best, is taken.

    Raises:
        UserError: if a sentence number between 0 and the highest is missing, or one comes from two different runs.
    """
    name = "the output of generate"
    if isinstance(source, str | os.PathLike):
        name, source = str(source), read_lines(source)
    texts: dict[str, dict[int, str]] = {"D": {}, "H": {}}
    order: dict[str, list[int]] = {"D": [], "H": []}
    for printed in source:
        match = HYPOTHESIS.match(printed.rstrip("\n"))
        if match:
            kind, number, text = match[1], sentence_number(match[2], name), match[3]
            texts[kind].setdefault(number, text)
            if order[kind][-1:] != [number]:
                order[kind].append(number)
    kind = "D" if texts["D"] else "H"
    sentences = texts[kind]
    if not sentences:
        raise UserError(f"{name} holds no hypothesis (no D- or H- line): was it written by generate?")
    if len(order[kind]) != len(sentences):
        twice = next(number for number, times in Counter(order[kind]).items() if times > 1)
        raise UserError(f"{name} holds sentence {twice} more than once: it is the output of more than one run")
    expected = max(sentences) + 1
    if len(sentences) < expected:
        first = next(number for number, present in enumerate(sorted(sentences)) if number != present)
        raise UserError(
            f"{name} lacks {expected - len(sentences):,} of {expected:,} sentences, the first is number {first}"
        )
    return [sentences[number] for number in range(expected)]


def sentence_number(digits: str, name: str) -> int:
    """Parse the number of a sentence.

    Raises:
        UserError: there cannot be so many sentences.
    """
    if len(digits) > LONGEST_NUMBER:
        raise UserError(f"{name} holds a sentence number of {len(digits)} digits: it was not written by generate")
    return int(digits)


def check_order(source: str | os.PathLike | Iterable[str], references: Sequence[str]) -> None:
    """Compare generate's own `T-` lines with the references: they must be the same sentences in the same order.

    What subwords, case, punctuation or tokenisation have changed in a few of them is not a mistake, nor is `<unk>`.

    Raises:
        UserError: names the first sentence that stands elsewhere among the references; or, if most stand nowhere there,
            the first of these.
    """
    if isinstance(source, str | os.PathLike):
        source = read_lines(source)
    bare = [bare_text(reference) for reference in references]
    places = {text: number for number, text in enumerate(bare)}
    compared, strangers = 0, []
    for printed in source:
        match = TARGET.match(printed.rstrip("\n"))
        if not match or UNKNOWN in match[2]:
            continue
        number, text = sentence_number(match[1], "the output of generate"), bare_text(match[2])
        if number >= len(bare) or bare[number] != text:
            if text in places:
                raise UserError(
                    f"sentence {number} of generate's output is line {places[text] + 1} of the references: "
                    "they are not in the same order, or the references are another test set's"
                )
            strangers.append((number, match[2]))
        compared += 1
    if len(strangers) > compared / 2:
        number, text = strangers[0]
        raise UserError(
            f"{len(strangers)} of the {compared} targets in generate's output are not among the references, the first "
            f"is sentence {number}, {text[:60]!r}: name the references of the test set that was decoded"
        )


def bare_text(text: str) -> str:
    """Return the letters and digits alone: without what subwords, tokenisers and truecasing change."""
    text = html.unescape(text.replace("##AT##", ""))  # Moses escapes &, ' and others; a WMT corpus writes - so
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def scoring_parser(command: str, description: str | None) -> Parser:
    """Make the parser of a command that compares hypotheses with references."""
    parser = Parser(prog=f"b2t-fairseq {command}", description=(description or "").split("\n")[0])
    parser.add_argument(
        "--hypotheses", required=True, metavar="FILE", help="what generate printed, or one sentence a line"
    )
    parser.add_argument("--references", required=True, metavar="FILE", help="raw references, one sentence a line")
    parser.add_argument("--plain", action="store_true", help="--hypotheses holds one plain sentence a line")
    add_facts(parser)
    return parser


def add_facts(parser: Parser) -> None:
    """Add the options that say what was scored, and where to write it."""
    parser.add_argument("--split", default="test", help="name of the test set, shown with the score")
    of_log = "(default: what the log says that is scored)"
    parser.add_argument("--checkpoint", help=f"name of the checkpoint, shown with the score {of_log}")
    parser.add_argument("--connection", help=f"connection or whole signature, shown with the score {of_log}")
    parser.add_argument("--json", metavar="FILE", help="also write the score to this file")


def scored_files(
    options: argparse.Namespace, name: str, metric: Callable[[Sequence[str], Sequence[str]], Mapping[str, Score]]
) -> None:
    """Read both files of `scoring_parser`'s options, score them by metric `name`, print the scores, and write JSON."""
    references = read_lines(options.references)
    if options.plain:
        hypotheses = read_lines(options.hypotheses)
    else:
        hypotheses = read_generate_output(options.hypotheses)
        check_order(options.hypotheses, references)
    refuse_unjoined(hypotheses, references, name)
    publish(options, options.hypotheses, metric(hypotheses, references))


def publish(options: argparse.Namespace, log: str | os.PathLike, scores: Mapping[str, Score]) -> None:
    """Print a line for each score of `log`, and write `--json`; what the options leave open, the log says itself."""
    said = dict(facts_in(log))
    connection = full_signature(options.connection or said["signature"])
    checkpoint = options.checkpoint or said["checkpoint"]
    for name, score in scores.items():
        print(line(name, score, options.split, checkpoint, connection))
    if options.json:
        write_json(options.json, scores, split=options.split, checkpoint=checkpoint, connection=connection)


def facts_in(log: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Find the models' signature and checkpoint in the log of generate or eval-lm; of an ensemble, each model's."""
    lines = read_lines(log)
    for fact, pattern in FACTS.items():
        found = dict.fromkeys(match[1] for text in lines if (match := pattern.search(text)))
        yield fact, " + ".join(found) or "unknown"
