"""Replace `checkpoint_last.pt` and `checkpoint_best.pt` in one step.

Without it: fairseq writes the first checkpoint name atomically, but copies it to the other names byte by byte. A job
killed during such a copy leaves half a `checkpoint_last.pt`, and the next start dies in `torch.load`.
Versions: every fairseq so far; any torch.
Unnecessary: once `PathManager.copy` (or `save_checkpoint`) copies to a temporary name and renames.
"""

import contextlib
import os
import shutil

from fairseq.file_io import PathManager

from ..wrap import wrap


def apply() -> None:
    wrap(PathManager, "copy", __name__, _make)


def _make(original):
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return original(src_path, dst_path, overwrite)  # a remote store has its own rules
        # The same suffix as fairseq's own temporary files: a leftover is overwritten by the next save, and no pattern
        # for checkpoint names matches it.
        temporary = f"{dst_path}.tmp"
        try:
            shutil.copyfile(src_path, temporary)
            os.replace(temporary, dst_path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
        return True

    return copy
