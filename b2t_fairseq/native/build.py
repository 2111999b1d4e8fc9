"""Compile the C++ files of this folder on the machine itself, at first use, and keep the result in the user's cache.

`CXX` names the compiler, as everywhere; with an empty `CXX` nothing is compiled.
"""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..common.errors import UserError
from ..common.files import replacing
from ..common.processes import run

logger = logging.getLogger(__name__)

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
# -fopenmp when compiling only: linked with it, the library would have a pool of threads beside torch's
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
POINTER, INTEGER, FLOAT, INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
ARGUMENTS = {
    "attend": [POINTER, INT, INT],
    "dropout": [POINTER, POINTER, INTEGER, INT, FLOAT, POINTER, INT],
    "log_sums": [POINTER, POINTER, INTEGER, INTEGER, POINTER, POINTER, POINTER, INT],
    "softmax_minus": [POINTER] * 4 + [FLOAT, FLOAT, INTEGER, INTEGER, POINTER, INT],
    "has_linear": [],
    "pack": [POINTER, INTEGER, INTEGER, POINTER, INT],
    "linear": [POINTER] * 3 + [INT] + [INTEGER] * 3 + [POINTER, POINTER, INT],
}


@functools.lru_cache(maxsize=1)
def kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had; the log says why."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not sys.platform.startswith("linux") or not compiler or shutil.which(compiler[0]) is None:
        logger.info("no kernels are compiled (no C++ compiler on a Linux machine): torch's operations are used")
        return None
    try:
        library = ctypes.CDLL(str(compiled(compiler)))
        for name, arguments in ARGUMENTS.items():
            if hasattr(library, name):  # some are for some processors only
                getattr(library, name).argtypes = arguments
        return library
    except subprocess.CalledProcessError as error:
        reason = next(iter((error.stderr or "").strip().splitlines()), str(error))
        logger.warning(f"the kernels cannot be compiled, torch's operations are used: {reason}")
    except (OSError, UserError) as error:  # of the loader, or of the cache's disk
        logger.warning(f"the compiled kernels cannot be used, torch's operations are: {error}")
    return None


def compiled(compiler: list[str]) -> Path:
    """Return the library for these sources, compiler and processor; it is made if it is not in the cache.

    Raises:
        subprocess.CalledProcessError: the compiler failed.
        OSError: it cannot be started, or the file cannot be written.
        UserError: the cache's disk is full.
    """
    version = run([*compiler, "--version"])
    parts = (*(source.read_text() for source in SOURCES), *FLAGS, *compiler, version, processor())
    path = cache_folder() / f"kernels-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.so"
    if not path.exists():
        logger.info(f"compiling kernels to {path}")
        with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:  # other processes may be at it, too
            run([*compiler, *FLAGS, "-c", *map(str, SOURCES)], cwd=folder)
            run([*compiler, "-shared", *(f"{source.stem}.o" for source in SOURCES), "-o", str(temporary)], cwd=folder)
    return path


def processor() -> str:
    """Return what -march=native depends on: a home may be shared by machines with different processors."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join([platform.machine(), *sorted({line for line in lines if line.startswith(wanted)})])


def cache_folder() -> Path:
    """Return b2t_fairseq in the user's cache; where that cannot be written, a temporary folder of this process."""
    with contextlib.suppress(OSError, RuntimeError):  # the second: a user without a home, as in containers
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "b2t_fairseq")
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="b2t_fairseq_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
