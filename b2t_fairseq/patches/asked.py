"""Whether a command is what imports the package; a script or a notebook that imports it keeps its process as it is."""

import sys
from pathlib import Path, PurePath

PACKAGE = Path(__file__).resolve().parents[1]


def is_asked() -> bool:
    """Return whether this process is a command of ours, or one of fairseq's that imports us by `--user-dir`."""
    return is_our_command() or is_imported_by_fairseq()


def is_our_command() -> bool:
    """Return whether `b2t-fairseq` or `python -m b2t_fairseq…` was started; also in a process that it has spawned."""
    program = next(iter(getattr(sys, "argv", None) or [""]))
    if program == "-m":  # Python puts the module's file here once the package is imported
        words = sys.orig_argv
        module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
        return module.partition(".")[0] == PACKAGE.name
    return PurePath(program).name == "b2t-fairseq" or PACKAGE in Path(program).resolve().parents


def is_imported_by_fairseq() -> bool:
    """Return whether fairseq's own `import_user_module` is what imports us, directly or by a folder of the user's."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "import_user_module" and frame.f_globals.get("__name__") == "fairseq.utils":
            return True
        frame = frame.f_back
    return False
