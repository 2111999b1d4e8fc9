"""Is this process one of our command's that should not wait for torch and fairseq, whose import takes seconds?"""

import sys
from pathlib import PurePath

#: what may stand behind the command's name, or nothing
WITHOUT_FAIRSEQ = ("-h", "--help", "--version", "--user-dir", "doctor")


def answers_without_fairseq() -> bool:
    """Whether `b2t-fairseq` or `python -m b2t_fairseq` was started with one of `WITHOUT_FAIRSEQ`, or with nothing."""
    program, *arguments = getattr(sys, "argv", None) or [""]
    if program == "-m":  # Python puts the module's file here once the package is imported
        words = sys.orig_argv
        ours = "-m" in words and words[words.index("-m") + 1] in ("b2t_fairseq", "b2t_fairseq.cli")
    else:
        ours = PurePath(program).name == "b2t-fairseq"
    return ours and (not arguments or arguments[0] in WITHOUT_FAIRSEQ)
