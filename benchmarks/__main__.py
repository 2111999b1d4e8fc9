"""`python -m benchmarks`."""

import sys

from b2t_fairseq.common.command_line import guarded

from .cli import main

if __name__ == "__main__":
    sys.exit(guarded(main))
