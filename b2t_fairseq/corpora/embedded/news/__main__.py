"""Write the embedded news corpus into a folder, in Gigaword's layout."""

import sys
from collections.abc import Sequence

from ....common.command_line import Parser, guarded
from . import SIZES, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the corpus as the command line says."""
    parser = Parser(prog="python -m b2t_fairseq.corpora.embedded.news", description=__doc__)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the texts and headlines")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus (default: 1)")
    options = parser.parse_args(arguments)
    write(options.output, options.seed)
    print(f"{options.output}: {', '.join(f'{size:,} {split}' for split, size in SIZES.items())} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
