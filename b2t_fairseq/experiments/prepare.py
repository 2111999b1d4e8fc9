"""The paper's corpora, from the Internet or from files you have to what fairseq trains on: `prepare CORPUS ...`."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..common.command_line import Parser, positive
from ..common.errors import UserError
from ..common.files import disk_full_as_one_line
from ..corpora import news_headlines
from ..corpora.fetching.manifest import Manifest, say
from .tasks import PAPER_CORPORA, Corpus, corpus_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `b2t-fairseq prepare wmt_ende --output data/wmt_ende`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments:
        arguments[0] = corpus_name(arguments[0])
    options = parser().parse_args(arguments)
    options.run(options)
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the options of all corpora: each task's corpora at paper scale, and what adds to one of them."""
    whole = Parser(prog="b2t-fairseq prepare", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="CORPUS", parser_class=Parser)
    for _, corpus in PAPER_CORPORA.values():
        add_corpus(commands, corpus)
    news = commands.add_parser(
        "news_headlines", help=first_sentence(news_headlines), description=news_headlines.__doc__
    )
    news.add_argument("sources", type=Path, nargs="+", metavar="FILE", help="files or folders: RealNews and NewsCrawl")
    news.add_argument("--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.article, PREFIX.title")
    news.add_argument("--limit", type=positive, metavar="N", help="most pairs (default: all)")
    news.set_defaults(run=lambda o: news_headlines.extract_pairs(o.sources, o.output, o.limit))
    return whole


def add_corpus(commands, corpus: Corpus) -> None:
    """Add the command that prepares one corpus: the options of all, then its module's own."""
    one = commands.add_parser(
        corpus.name,
        help=first_sentence(corpus.module),
        description=corpus.module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = one.add_argument
    output = Path("data") / corpus.name
    add("--output", type=Path, default=output, metavar="DIR", help="where the corpus goes (default: %(default)s)")
    add("--from", dest="given", type=Path, metavar="DIR", help="you have the files: nothing is fetched")
    add("--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)")
    add("--need-free-gb", type=float, metavar="GB", help="free disk to ask for before the work begins")
    own: list[str] = []

    def add_own(*names, **settings) -> argparse.Action:
        action = add(*names, **settings)
        own.append(action.dest)
        return action

    corpus.module.add_options(add_own)
    one.set_defaults(run=partial(prepare, corpus, own))


def prepare(corpus: Corpus, own: Sequence[str], options: argparse.Namespace) -> None:
    """Run one corpus' steps in its folder.

    Args:
        corpus: which.
        own: the names of the options that its module added.
        options: the command line.

    Raises:
        UserError: the folder cannot be used, or any step's own mistake.
    """
    given = options.given
    if given is not None and not given.is_dir():
        raise UserError(f"--from {given}: there is no such folder; name the one that holds the files")
    if "," in str(options.output.absolute()):
        raise UserError(f"--output {options.output}: fairseq cuts paths at commas; choose a folder without one")
    space = options.need_free_gb
    if space is not None and not 0 <= space < math.inf:
        raise UserError(f"--need-free-gb {space}: must be a number of gigabytes, 0 or more")
    settings = {name: getattr(options, name) for name in own}
    bytes_needed = None if space is None else int(space * 1e9)
    with disk_full_as_one_line(options.output), Manifest(options.output.absolute(), corpus.name).locked() as manifest:
        folder = corpus.module.prepare(
            manifest, given and given.absolute(), options.workers, space=bytes_needed, **settings
        )
        unverified = [n for n, source in manifest.content["sources"].items() if "unverified" in source["verified"]]
    say(f"{corpus.name}: ready in {folder}; sources, checksums, versions and counts are in {manifest.path}")
    if unverified:
        say(f"{corpus.name}: no package carries a checksum of {', '.join(unverified)}; the received one is recorded")


def first_sentence(module) -> str:
    """Return the first paragraph of a module's docstring, for the list of corpora."""
    return " ".join((module.__doc__ or "").split("\n\n")[0].split()).replace("%", "%%")


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
