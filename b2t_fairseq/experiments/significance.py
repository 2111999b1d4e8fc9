"""Paired tests between cells, made where the references are, and kept among the results for the report."""

from collections.abc import Iterable, Mapping, Sequence

from ..common.errors import UserError
from ..common.files import read_records
from .findings import wanted_pairs
from .laptop import Corpus
from .rows import Results, Row

FILE = "paired.jsonl"


def kept(results: Results) -> dict[tuple[str, str, str], float]:
    """Return the kept tests: (fingerprint, fingerprint, test set) -> p."""
    records = read_records(results.folder / FILE, first=str, second=str, test=str, p=float, signature=str)
    return {(record["first"], record["second"], record["test"]): record["p"] for record in records if record["p"] >= 0}


def make(rows: Iterable[Row], corpora: Mapping[str, Corpus], results: Results) -> None:
    """Test the pairs of cells that the findings need and that are not tested yet.

    Args:
        rows: of the cells.
        corpora: fingerprint -> the corpus of its cell.
        results: with the hypotheses; gets what is found.
    """
    done = kept(results)
    for ours, theirs in wanted_pairs(rows):
        for test in ours["scores"]:
            names = ours["fingerprint"], theirs["fingerprint"]
            lines = [results.hypotheses(name, test) for name in names]
            corpus = corpora.get(names[0])
            if (*names, test) in done or corpus is None or None in lines:
                continue
            wanted = references(corpus, test)
            for name, each in zip(names, lines, strict=True):
                if len(each) != len(wanted):
                    raise UserError(
                        f"{results.hypotheses_path(name, test)} has {len(each)} lines, the test set {len(wanted)}: "
                        "delete it, and its cell's row, to make them anew"
                    )
            found = corpus.task.paired_test(*lines, wanted)
            if found is not None:
                p, signature = found
                record = {"first": names[0], "second": names[1], "test": test, "p": p, "signature": signature}
                results.add_record(FILE, record)


def references(corpus: Corpus, test: str) -> Sequence[str]:
    """Return the references of a test set; prepares the corpus if it is not."""
    corpus.prepare()
    return corpus.task.references(corpus.places[0], test)
