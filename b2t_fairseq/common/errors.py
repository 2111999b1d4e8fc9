"""Mistakes a user can fix, shown as one line."""

import builtins
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence

from .known_errors import translate

#: packages whose errors with a text are about the user's input
FOREIGN = (
    *("fairseq", "fairseq_cli", "hydra", "omegaconf", "sacrebleu", "yaml"),
    *("sentencepiece", "subword_nmt", "sacremoses", "soundfile"),
    *(UNPICKLING := ("torch.serialization", "torch._weights_only_unpickler")),
)
#: whatever text a foreign package gives these is shown; the others need a row in `known_errors`
WITH_TEXT = (AssertionError, ValueError, OSError, ImportError, RuntimeError, NotImplementedError, EOFError)
#: parts of fairseq that see the user's options and files only, so that any error there is about those
SETTINGS = (
    "fairseq.data",
    "fairseq.dataclass",
    "fairseq.options",
    "fairseq.optim",
    "fairseq.registry",
    "fairseq.tasks",
)
OURS = __name__.partition(".")[0]
WHERE = "B2T_TRACEBACK=1 shows where"


class UserError(ValueError):
    """A mistake the user can fix: shown as one line, without a traceback."""


def explain(mistake: BaseException) -> str | None:
    """Return the one-line error for a mistake the user can fix, or None for what must keep its traceback.

    A traceback means a bug in us. So our own errors other than `UserError` keep it, and what fairseq and its libraries
    raise with a text becomes that text.
    """
    worker = re.match(r"\s*(Caught \w+ in|-- Process \d+ terminated)", str(mistake))
    if worker and "Traceback (most recent call last)" in str(mistake):
        return explain_worker(str(mistake))
    text = " ".join(str(mistake).split())
    if isinstance(mistake, UserError):
        return text
    if isinstance(mistake, OSError) and mistake.filename is not None:
        return f"{mistake.filename}: {(mistake.strerror or text).lower()}; check the path in the command"
    if isinstance(mistake, MemoryError):
        return out_of_memory(text)
    return explain_text(type(mistake), text, origin(mistake))


def explain_text(kind: type[BaseException], text: str, module: str) -> str | None:
    """Return the line for an error of class `kind` with `text` that was raised in `module`."""
    if re.search(r"out of memory|can't allocate memory", text):
        return out_of_memory(text)
    if is_part(module, (OURS,)):
        return None
    if "Size of sample #" in text:
        return explain_too_long(text)
    known = translate(kind.__name__, text, module)
    if known is not None:
        return known
    if is_part(module, UNPICKLING):
        return f"a checkpoint cannot be read: it is damaged, or another kind of file ({kind.__name__}: {text})"
    if not text or not is_part(module, FOREIGN):
        return None
    if issubclass(kind, WITH_TEXT) or kind is Exception or is_part(kind.__module__, FOREIGN):
        return text
    if is_part(module, SETTINGS):
        return f"an option or a data file does not fit: {kind.__name__} in {module}: {text}; {WHERE}"
    return None


def show(line: str, mistake: BaseException) -> None:
    """Print the one line on stderr; with B2T_TRACEBACK=1 the traceback before it."""
    if os.environ.get("B2T_TRACEBACK", "") not in ("", "0"):
        traceback.print_exception(mistake)
    print(f"error: {line}", file=sys.stderr)


def origin(mistake: BaseException) -> str:
    """Return the module that is to blame: the innermost one that is neither Python's own nor one of torch's layers."""
    for module in reversed(list(modules_of(mistake))):
        package = module.partition(".")[0]
        if is_part(module, FOREIGN) or package != "torch" and package not in sys.stdlib_module_names:
            return module
    return ""


def modules_of(mistake: BaseException) -> Iterator[str]:
    """Yield the modules of a traceback's frames, the innermost last."""
    for frame, _ in traceback.walk_tb(mistake.__traceback__):
        yield frame.f_globals.get("__name__", "")


def is_part(module: str, packages: Sequence[str]) -> bool:
    """Return whether `module` is one of `packages`, or in one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def explain_worker(text: str) -> str | None:
    """Explain an error that a worker process hands on: its class and text are the end of its traceback.

    torch raises the worker's class again, with the worker's whole traceback as its text.
    """
    last = re.findall(r"^(?:[\w.]+\.)?([A-Za-z_]\w*): (.*(?:\n(?! *File ).*)*)", text, flags=re.MULTILINE)
    if not last:
        return None
    name, said = last[-1][0], " ".join(last[-1][1].split())
    if name == "UserError":
        return said
    files = re.findall(r'^ *File "[^"]*/((?:b2t_fairseq|fairseq|fairseq_cli)/[^"]+)\.py"', text, flags=re.MULTILINE)
    module = files[-1].replace("/", ".") if files else ""
    return explain_text(getattr(builtins, name, RuntimeError), said, module)


def out_of_memory(text: str) -> str:
    """Explain an allocation that failed."""
    size = re.search(r"allocate (\d+) bytes|allocate ([\d.]+ [KMGT]iB)", text)
    asked = size and (f"{int(size[1]) / 2**30:,.1f} GiB" if size[1] else size[2])
    return f"not enough memory{f' ({asked} asked for)' if asked else ''}: use a smaller model or a lower --max-tokens"


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
