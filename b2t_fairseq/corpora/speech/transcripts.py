"""What counts in a transcript: the words and characters that error rates compare.

Normalised as by fairseq's `--scoring wer --wer-lowercase --wer-remove-punct`: lower case, and words that are nothing
but punctuation are taken out (the apostrophe of *don't* stays). In the character rate, spaces count as characters.
"""

import unicodedata


def words(text: str) -> list[str]:
    """Return the words that are compared."""
    return without_punctuation(text).lower().split()


def characters(text: str) -> list[str]:
    """Return the characters that are compared; a space is `▁`."""
    return " ".join(without_punctuation(text).replace(" ", "▁")).lower().split()


def without_punctuation(text: str) -> str:
    """Return the text without the words of which every character is of a Unicode category P*."""
    kept = (word for word in text.split(" ") if any(unicodedata.category(c)[0] != "P" for c in word))
    return " ".join(kept)
