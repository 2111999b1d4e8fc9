"""Mistakes a user can fix, shown as one line."""

import re


class UserError(ValueError):
    """A mistake the user can fix: shown as one line, without a traceback."""


def explain(mistake: BaseException) -> str | None:
    """Return the one-line error for a mistake the user can fix, or None for what must keep its traceback.

    Besides our own errors these are the ones of fairseq and Python that come from a wrong path or a forgotten option.
    """
    text = " ".join(str(mistake).split())
    if isinstance(mistake, UserError):
        return text
    if isinstance(mistake, OSError) and mistake.filename is not None:
        return f"{mistake.filename}: {(mistake.strerror or text).lower()}; check the path in the command"
    if isinstance(mistake, FileNotFoundError):  # fairseq's "Dataset not found: train (DATA)" carries no file name
        return f"{text}; check the data folder in the command"
    if type(mistake) is Exception and text.startswith("Could not infer language pair"):
        return "the data folder holds no binarised language pair: check its path, or make it with `preprocess`"
    if isinstance(mistake, AssertionError) and text.startswith("Must specify batch size"):
        return "no batch size given: add --max-tokens N (or --batch-size N)"
    if type(mistake) is Exception and text.startswith("Size of sample #"):
        return explain_too_long(text)
    return None


def explain_too_long(text: str) -> str | None:
    """Translate fairseq's "Size of sample #5 is invalid (=(6001, 0)) since max_positions=(1024, 1024), ..."."""
    match = re.match(r"Size of sample #(\d+) is invalid \(=(.*)\) since max_positions=(.*), skip", text)
    if match is None:
        return None
    # numpy 2 writes np.int64(6001)
    sizes, limits = ([int(n) for n in re.findall(r"\d+", re.sub(r"int\d+", "", part))] for part in match.groups()[1:])
    over = [place for place, (size, limit) in enumerate(zip(sizes, limits, strict=False)) if size > limit]
    if not over:
        return None
    # without a target it may be typed in, and its number is a place in the buffer and not in the text
    is_numbered = len(sizes) == 2 and sizes[1] > 0
    which = f"{('the source', 'the target')[over[0]]} of sentence {int(match[1]) + 1}" if is_numbered else "a sentence"
    return (
        f"{which} of {sizes[over[0]]:,} tokens (of speech: frames) is too long for the model, which takes at most "
        f"{limits[over[0]]:,}: shorten it, or leave such sentences out with --skip-invalid-size-inputs-valid-test"
    )
