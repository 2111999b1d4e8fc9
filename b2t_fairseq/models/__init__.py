"""Models and architectures; importing the package registers them with fairseq."""

from . import translation, unknown_architecture  # noqa: F401
