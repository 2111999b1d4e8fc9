"""The former name of `experiments`: `python -m b2t_fairseq.reproduce.quickstart` and others still start."""

from ..experiments import __path__  # noqa: F401  (the modules of this package are those of that one)
