"""Packages that only some commands need: the extras of `setup.py`, and fairseq itself."""

import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from types import ModuleType

from .errors import UserError
from .quick import is_our_command

#: extra -> the modules that it installs
EXTRAS = {
    "speech": ("soundfile", "scipy", "kaldi_native_fbank", "jiwer"),
    "summarization": ("rouge_score",),
    "plots": ("matplotlib",),
    "export": ("safetensors", "ctranslate2"),
}


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import and return a module of an extra.

    Args:
        module: such as "matplotlib" or "matplotlib.pyplot".
        extra: of `setup.py`, which installs it.
        purpose: what needs it, as the subject of a sentence in the plural: "figures".

    Raises:
        UserError: the module is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # a library of another build is an OSError or RuntimeError
        raise UserError(f"{purpose} need {explain_import(module, error)}: {advice(extra)}") from error


def require_extra(extra: str, purpose: str) -> None:
    """Raise a UserError if a module of `extra` is missing, before long work that would end in it."""
    for module in EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{purpose} need {module}, which is not installed: {advice(extra)}")


def explain_import(module: str, error: Exception) -> str:
    """Return the module's name and what is wrong with it."""
    package = module.partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and error.name in (module, package):
        return f"{package}, which is not installed"
    return f"{package}, which cannot be imported ({' '.join(str(error).split())})"


def advice(extra: str) -> str:
    """Return the command that installs an extra, in a checkout and elsewhere."""
    return f'pip install "b2t_fairseq[{extra}]" (in a checkout: pip install -e ".[{extra}]")'


def check_fairseq() -> None:
    """Raise an ImportError of one line, with what to install, if there is no fairseq that this Python can import.

    In a command of ours, which cannot catch what its package's import raises, print that line and exit with status 2.
    """
    fault = missing_fairseq()
    if fault is None:
        return
    line = f"{fault}: {fairseq_advice()}"
    if is_our_command():
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(line)


def missing_fairseq() -> str | None:
    """Return what is wrong with the installed fairseq; None: nothing."""
    spec = importlib.util.find_spec("fairseq")
    if spec is None or spec.origin is None:  # a folder of that name is not the package
        return "b2t_fairseq needs fairseq, which is not installed"
    if sys.version_info >= (3, 11) and stock_version() == "0.12.2":
        return "fairseq 0.12.2 of PyPI cannot be imported by Python 3.11 or newer"
    return None


def fairseq_advice() -> str:
    """Return the command that installs the fairseq which fits this Python and machine."""
    if sys.version_info[:2] in ((3, 11), (3, 12)) and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return advice("ve")
    return (
        'pip install "setuptools>=64" wheel cython numpy && '
        'env -u CUDA_HOME pip install --no-build-isolation "b2t_fairseq[fixed]" (in a checkout: -e ".[fixed]")'
    )


def stock_version() -> str | None:
    """Return the version of PyPI's own fairseq, if that is the one installed."""
    try:
        return importlib.metadata.version("fairseq")
    except importlib.metadata.PackageNotFoundError:
        return None
