"""Compile the C++ files of this folder on the machine itself, at first use, and keep the result in the user's cache.

`CXX` names the compiler, as everywhere; with an empty `CXX` nothing is compiled.

Loading a library runs its code. So the cache is a folder that nobody else can write to, and a library is loaded only
with the digest that was written beside it: one that was cut short would end every command with SIGBUS.
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
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from ..common.errors import UserError
from ..common.processes import run

logger = logging.getLogger(__name__)

SOURCES, HEADERS = (tuple(sorted(Path(__file__).parent.glob(kind))) for kind in ("*.cpp", "*.h"))
# -fopenmp when compiling only: linked with it, the library would have a pool of threads beside torch's
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
POINTER, INTEGER, FLOAT, INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
ARGUMENTS = {
    "attend": [POINTER, INT, INT],
    "dropout": [POINTER, INT, POINTER, INTEGER, INT, FLOAT, POINTER, INT, INT],
    "softmax": [POINTER, INT, POINTER, POINTER, INT],
    "log_sums": [POINTER, INT, POINTER, INTEGER, INTEGER, POINTER, POINTER, POINTER, INT],
    "softmax_minus": [POINTER, INT, POINTER, POINTER, POINTER, FLOAT, FLOAT, INTEGER, INTEGER, POINTER, INT],
    "few_rows": [POINTER] * 3 + [INT, INT] + [INTEGER] * 4 + [POINTER, INT],
    "has_linear": [],
    "pack": [POINTER, INTEGER, INTEGER, INT, POINTER, INT],
    "linear": [POINTER, INT, POINTER, POINTER, INT] + [INTEGER] * 3 + [POINTER, POINTER, INT],
}


@functools.lru_cache(maxsize=1)
def kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had; the log says why."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not sys.platform.startswith("linux") or not compiler or shutil.which(compiler[0]) is None:
        logger.info("no kernels are compiled (no C++ compiler on a Linux machine): torch's operations are used")
        return None
    try:
        return loaded(compiled(compiler))
    except subprocess.CalledProcessError as error:
        reason = next(iter((error.stderr or "").strip().splitlines()), str(error))
        logger.warning(f"the kernels cannot be compiled, torch's operations are used: {reason}")
    except (OSError, UserError) as error:  # of the loader, or of the cache's disk
        logger.warning(f"the compiled kernels cannot be used, torch's operations are: {error}")
    return None


def loaded(path: Path) -> ctypes.CDLL:
    """Return a library whose functions know the types of their arguments."""
    library = ctypes.CDLL(str(path))
    for name, arguments in ARGUMENTS.items():
        if hasattr(library, name):  # some are for some processors only
            getattr(library, name).argtypes = arguments
    return library


def compiled(compiler: list[str]) -> Path:
    """Return the library for these sources, compiler and processor; it is made if it is not in the cache.

    Raises:
        subprocess.CalledProcessError: the compiler failed.
        OSError: it cannot be started, or the file cannot be written.
        UserError: the cache's disk is full.
    """
    version = run([*compiler, "--version"])
    parts = (*(source.read_text() for source in SOURCES + HEADERS), *FLAGS, *compiler, version, processor())
    path = cache_folder() / f"kernels-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.so"
    if not is_whole(path):
        logger.info(f"compiling kernels to {path}")
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # renamed at the end: other processes may be at it
            run([*compiler, *FLAGS, "-c", *map(str, SOURCES)], cwd=folder)
            run([*compiler, "-shared", *(f"{source.stem}.o" for source in SOURCES), "-o", "kernels.so"], cwd=folder)
            library, digest = Path(folder, "kernels.so"), Path(folder, "digest")
            digest.write_text(digest_of(library), encoding="ascii")
            for file, place, mode in ((digest, digest_beside(path), 0o600), (library, path, 0o700)):
                file.chmod(mode)
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
                os.replace(file, place)  # within one folder, whose files are the compiler's
    return path


def digest_of(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_beside(path: Path) -> Path:
    """Return where a library's digest is written."""
    return path.with_suffix(".sha256")


def is_whole(path: Path) -> bool:
    """Return whether a library is there as it was written; one that is not is compiled anew."""
    beside = digest_beside(path)
    try:
        whole = (
            is_private(path) and is_private(beside) and beside.read_text(encoding="ascii").strip() == digest_of(path)
        )
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        whole = False
    if not whole:
        logger.warning(f"{path} is damaged, or others can write it: it is not used but made anew")
    return whole


def is_private(path: Path) -> bool:
    """Return whether a file or folder is this user's, not a link, and not writable by others."""
    status = os.lstat(path)
    return status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode) and not status.st_mode & 0o022


def processor() -> str:
    """Return what -march=native depends on: a home may be shared by machines with different processors."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join([platform.machine(), *sorted({line for line in lines if line.startswith(wanted)})])


def cache_folder() -> Path:
    """Return b2t_fairseq in the user's cache, private; where that cannot be, a temporary folder of this process."""
    with contextlib.suppress(OSError, RuntimeError):  # the second: a user without a home, as in containers
        cache = os.environ.get("XDG_CACHE_HOME", "")
        # a relative one is to be ignored, says its standard: it would be whatever folder the command is started in
        folder = (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "b2t_fairseq"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not (folder.is_dir() and is_private(folder) and all(map(is_private, folder.iterdir()))):
            logger.warning(f"{folder} is not this user's alone: kernels are compiled anew, to a temporary folder")
        elif os.access(folder, os.W_OK):
            folder.chmod(0o700)
            return folder
    folder = Path(tempfile.mkdtemp(prefix="b2t_fairseq_"))  # mode 0700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
