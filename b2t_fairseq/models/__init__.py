"""Models and architectures; importing the package registers them with fairseq."""

from . import translation  # noqa: F401
