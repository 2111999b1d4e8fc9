"""Write the embedded English-German corpus into a folder."""

import sys
from collections.abc import Sequence

from ....common.command_line import Parser, guarded
from . import SPLIT_SIZES, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the corpus as the command line says."""
    parser = Parser(prog="python -m b2t_fairseq.corpora.embedded.english_german", description=__doc__)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for train, val and test (.en and .de)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus (default: 1)")
    options = parser.parse_args(arguments)
    write(options.output, options.seed)
    counts = ", ".join(f"{size:,} {split}" for split, size in SPLIT_SIZES.items())
    print(f"{options.output}: {counts} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
