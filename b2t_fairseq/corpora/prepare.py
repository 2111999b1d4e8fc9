"""The paper's corpora, from the Internet or from files at hand to what fairseq trains on: ``prepare CORPUS …``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.command_line import Parser
from ..common.errors import UserError
from ..common.files import disk_full_as_one_line
from . import gigaword, news_headlines, wikitext103, wmt_ende
from . import librispeech as librispeech_download
from .fetching.manifest import Manifest, say
from .parallel_text import CorpusError

Corpus = Callable[[Manifest, argparse.Namespace], Path]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m b2t_fairseq.cli prepare wmt-ende --output data/wmt_ende``."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except CorpusError as mistake:
        raise UserError(str(mistake)) from None
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of all corpora."""
    whole = Parser(prog="prepare", description=__doc__)
    corpora = whole.add_subparsers(required=True, metavar="CORPUS")

    def corpus(name: str, module, extra: Callable[[argparse.Namespace], dict]) -> Callable:
        one = corpora.add_parser(name, help=first_line(module), description=module.__doc__, allow_abbrev=False)
        one.add_argument("--output", type=Path, default=Path("data") / name.replace("-", "_"), metavar="DIR")
        one.add_argument("--from", dest="given", type=Path, metavar="DIR", help="I have the files: nothing is fetched")
        one.add_argument(
            "--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="(default: all cores)"
        )
        one.add_argument("--need-free-gb", type=float, metavar="GB", help="free disk to ask for before the work begins")
        one.set_defaults(run=lambda options: prepare(name, module.prepare, options, extra(options)))
        return one.add_argument

    add = corpus("wmt-ende", wmt_ende, lambda o: {"from_raw": o.from_raw, "merges": o.merges, "years": o.years})
    add("--from-raw", action="store_true", help="build from raw text instead of the ready-made archive")
    add("--merges", type=positive, default=wmt_ende.MERGES, metavar="N", help="with --from-raw (default: %(default)s)")
    add("--years", type=years, default=wmt_ende.YEARS, metavar="A,B", help="test sets (default: 2010,…,2016)")
    add = corpus("gigaword", gigaword, lambda o: {"merges": o.merges, "extra": o.extra})
    add("--merges", type=positive, default=gigaword.MERGES, metavar="N", help="joint BPE merges (default: %(default)s)")
    add(
        "--extra",
        type=Path,
        action="append",
        default=[],
        metavar="PREFIX",
        help="more training pairs, PREFIX.article and PREFIX.title; may be repeated",
    )
    corpus("wikitext103", wikitext103, lambda o: {})
    add = corpus(
        "librispeech",
        librispeech_download,
        lambda o: {"vocab_size": o.vocab_size, "splits": o.splits, "specaugment": o.specaugment},
    )
    known = tuple(librispeech_download.ARCHIVES)
    add("--splits", type=splits, default=known, metavar="A,B", help=f"(default: {','.join(known)})")
    add("--vocab-size", type=positive, default=librispeech_download.PIECES, metavar="N", help="(default: %(default)s)")
    add(
        "--specaugment",
        choices=librispeech_download.librispeech.SPECAUGMENT,
        default="ld",
        help="(default: %(default)s)",
    )
    news = corpora.add_parser(
        "news-headlines", help=first_line(news_headlines), description=news_headlines.__doc__, allow_abbrev=False
    )
    news.add_argument(
        "sources", type=Path, nargs="+", metavar="FILE", help="files or folders of RealNews and NewsCrawl"
    )
    news.add_argument("--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.article, PREFIX.title")
    news.add_argument("--limit", type=positive, metavar="N", help="most pairs (default: all)")
    news.set_defaults(run=lambda o: news_headlines.extract_pairs(o.sources, o.output, o.limit))
    return whole


def prepare(name: str, work: Callable, options: argparse.Namespace, extra: dict) -> None:
    """Runs one corpus' steps in its folder."""
    given = options.given
    if given is not None and not given.is_dir():
        raise UserError(f"--from {given}: there is no such folder; name the one that holds the files")
    if "," in str(options.output.absolute()):
        raise UserError(f"--output {options.output}: fairseq cuts paths at commas; choose a folder without one")
    space = None if options.need_free_gb is None else int(options.need_free_gb * 1e9)
    with disk_full_as_one_line(options.output), Manifest(options.output.absolute(), name).locked() as manifest:
        made = work(manifest, given and given.absolute(), options.workers, space=space, **extra)
        unverified = [n for n, source in manifest.content["sources"].items() if "unverified" in source["verified"]]
    say(f"{name}: ready in {made}; sources, checksums, versions and counts are in {manifest.path}")
    if unverified:
        say(f"{name}: no package carries a checksum of {', '.join(unverified)}; what arrived is recorded")


def first_line(module) -> str:
    """The first sentence of a module, for the list of corpora."""
    return " ".join(module.__doc__.split("\n\n")[0].split()).replace("%", "%%")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def years(text: str) -> tuple[int, ...]:
    """2010,2014: years of test sets; "none" for none."""
    found = () if text == "none" else tuple(sorted({int(y) if y.isdecimal() else 0 for y in text.split(",")}))
    if unknown := set(found) - set(wmt_ende.YEARS):
        raise argparse.ArgumentTypeError(f"{text}: not from 2010 to 2016, separated by commas ({sorted(unknown)})")
    return found


def splits(text: str) -> tuple[str, ...]:
    """Names of LibriSpeech's splits."""
    found = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in found if name not in librispeech_download.ARCHIVES]:
        raise argparse.ArgumentTypeError(f"no split {unknown[0]}; there are {', '.join(librispeech_download.ARCHIVES)}")
    return found


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
