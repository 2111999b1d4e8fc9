"""Models and architectures; importing the package registers them with fairseq."""

from . import language_model, speech_to_text, translation  # noqa: F401
