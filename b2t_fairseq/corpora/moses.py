"""Moses tokenisation by sacremoses on all cores, and the cleaning of pairs that goes with it."""

from collections.abc import Callable
from pathlib import Path

from . import parallel_text
from .fetching.parts import convert_lines

LONGEST, RATIO = 80, 9  # words, and how many times as many as the other side: Moses' cleaning with its usual limits


def tokenise(text: Path, target: Path, language: str, workers: int) -> dict[str, float]:
    """Tokenise a file in parts; a line stays a line."""
    return convert_lines(text, target, tokeniser, (language,), workers)


def tokeniser(language: str) -> Callable[[str], str]:
    """Return the function that tokenises a line; what is special to Moses is escaped (& as &amp;), as in its script."""
    from sacremoses import MosesTokenizer

    moses = MosesTokenizer(lang=language)
    return lambda line: moses.tokenize(parallel_text.clean(line), return_str=True, escape=True) + "\n"


def keep_good_pairs(
    texts: tuple[Path, Path], targets: tuple[Path, Path], longest: int = LONGEST, ratio: float = RATIO
) -> dict[str, int]:
    """Copy pairs whose sides have 1 to `longest` words and do not differ `ratio` times in length.

    Returns:
        Counts: pairs kept and left out.
    """
    kept, left_out = 0, 0
    with (
        open(texts[0], encoding="utf-8", newline="\n") as source,
        open(texts[1], encoding="utf-8", newline="\n") as target,
        open(targets[0], "w", encoding="utf-8", newline="\n") as good_source,
        open(targets[1], "w", encoding="utf-8", newline="\n") as good_target,
    ):
        for one, other in zip(source, target, strict=True):
            lengths = len(one.split()), len(other.split())
            if min(lengths) >= 1 and max(lengths) <= longest and max(lengths) <= ratio * min(lengths):
                good_source.write(one)
                good_target.write(other)
                kept += 1
            else:
                left_out += 1
    return {"pairs": kept, "left out": left_out}
