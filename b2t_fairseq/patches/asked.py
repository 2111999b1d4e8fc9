"""Whether a command is what imports the package; a script or a notebook that imports it keeps its process as it is."""

import sys

from ..common.quick import is_our_command


def is_asked() -> bool:
    """Return whether this process is a command of ours, or one of fairseq's that imports us by `--user-dir`."""
    return is_our_command() or is_imported_by_fairseq()


def is_imported_by_fairseq() -> bool:
    """Return whether fairseq's own `import_user_module` is what imports us, directly or by a folder of the user's."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "import_user_module" and frame.f_globals.get("__name__") == "fairseq.utils":
            return True
        frame = frame.f_back
    return False
