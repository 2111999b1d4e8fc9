"""`python -m b2t_fairseq COMMAND ...`, the same as `b2t-fairseq COMMAND ...`."""

import sys

from .cli import main

sys.exit(main())
