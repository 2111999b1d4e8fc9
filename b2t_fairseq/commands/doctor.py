"""Say whether this environment is sound: versions, devices, compiler, kernels; and for each fault how to fix it.

Each check looks at one thing, so that the rest is still said where fairseq, or even torch, is missing or broken.
"""

import importlib
import importlib.metadata
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..common.command_line import Parser
from ..common.machine import FAIRSEQS, cpu_model, version
from ..common.optional import fairseq_advice
from ..common.quick import OUR_PATH, PACKAGE

IMPORT_SECONDS = 180
OLDEST_PYTHON = (3, 10)
SAFE_TORCH = (2, 4)  # whose safe unpickling reads fairseq's checkpoints
INSTALL_TORCH = "pip install torch; for a CPU build add --index-url https://download.pytorch.org/whl/cpu"
#: what the processor's flags mean for us
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bf16 products", "amx_bf16": "AMX"}


class Finding(NamedTuple):
    """One line of the doctor's.

    Attributes:
        what: what was looked at.
        text: what was found.
        fix: what to do about it; None if all is well.
    """

    what: str
    text: str
    fix: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all findings (`b2t-fairseq doctor`); return 1 if one of them is a fault."""
    parser = Parser(prog="b2t-fairseq doctor", description=__doc__.split("\n")[0])
    parser.parse_args(arguments)
    faults = 0
    for finding in findings():
        faults += finding.fix is not None
        print(f"{'ok   ' if finding.fix is None else 'FAULT'} {finding.what:<12} {finding.text}", flush=True)
        if finding.fix:
            print(f"{'':<18} fix: {finding.fix}", flush=True)
    print("all is well" if not faults else f"{faults} fault{'s' if faults > 1 else ''}")
    return 1 if faults else 0


def findings() -> Iterator[Finding]:
    """Make every check, one after the other."""
    for check in CHECKS:
        yield from check()


def python() -> Iterator[Finding]:
    """Look at the Python version."""
    old = sys.version_info[:2] < OLDEST_PYTHON
    fix = "use Python 3.10 or newer; 3.11 and 3.12 need no compiler" if old else None
    yield Finding("Python", f"{platform.python_version()}, {platform.platform()}, {sys.executable}", fix)


def plugin() -> Iterator[Finding]:
    """Look at our own package, and at other copies that fairseq might take instead."""
    yield Finding("b2t_fairseq", f"{version('b2t_fairseq') or 'not installed, run from its folder'}")
    yield Finding("--user-dir", OUR_PATH)
    other = Path("b2t_fairseq").resolve()
    if (other / "__init__.py").is_file() and str(other) != os.path.realpath(OUR_PATH):
        yield Finding("other copy", f"{other} stands in this folder", "run the commands in another folder")


def torch() -> Iterator[Finding]:
    """Look at torch, its devices and threads."""
    try:
        import torch as module
    except Exception as error:
        text = "not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported: {first_line(error)}"
        yield Finding(
            "torch", text, "pip install torch --index-url https://download.pytorch.org/whl/cpu, or a GPU build"
        )
        return
    release = tuple(int(part) for part in module.__version__.split("+")[0].split(".")[:2])
    fix = None if release >= SAFE_TORCH else "pip install -U torch: before 2.4 checkpoints must be given trust"
    build = f"built for CUDA {module.version.cuda}" if module.version.cuda else "CPU build"
    yield Finding("torch", f"{module.__version__}, {build}, {module.get_num_threads()} threads", fix)
    yield from gpus(module)


def gpus(module) -> Iterator[Finding]:
    """Look for GPUs that torch can use, and for those it cannot."""
    if module.cuda.is_available():
        for place in range(module.cuda.device_count()):
            facts = module.cuda.get_device_properties(place)
            bf16 = "bf16" if module.cuda.is_bf16_supported() else "no bf16"
            yield Finding(f"GPU {place}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {bf16}")
    elif shutil.which("nvidia-smi") is None:
        yield Finding("GPU", "none: everything runs on the CPU")
    elif module.version.cuda:
        yield Finding("GPU", "torch cannot use it", "update the NVIDIA driver (nvidia-smi must list the GPU)")
    else:
        yield Finding("GPU", "there is one, and torch is a CPU build", "install a CUDA build of torch")


def fairseq() -> Iterator[Finding]:
    """Look at which fairseq is installed."""
    installed = [f"{name} {number}" for name in FAIRSEQS if (number := version(name))]
    if not installed:
        yield Finding("fairseq", "not installed", fairseq_advice())
    elif len(installed) > 1:
        names = " ".join(name.split()[0] for name in installed)
        fix = f"pip uninstall {names}, then install one: they write into the same folder"
        yield Finding("fairseq", " and ".join(installed), fix)
    else:
        text = installed[0]
        fix = (
            None if text.split()[1].startswith("0.12") else f"0.12 is what this plugin is made for: {fairseq_advice()}"
        )
        yield Finding("fairseq", text, fix)


def loading() -> Iterator[Finding]:
    """Load the plugin in a process of its own."""
    child = [sys.executable, "-c", "import b2t_fairseq"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(OUR_PATH).parent), *python_path()])}
    try:
        done = subprocess.run(child, capture_output=True, text=True, timeout=IMPORT_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        yield Finding("loading", f"not done after {IMPORT_SECONDS} s", "is the disk of the environment reachable?")
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        yield Finding("loading", last, "see the lines above; python -c 'import b2t_fairseq' shows where it fails")
    else:
        yield Finding("loading", "fairseq takes the plugin")


def python_path() -> list[str]:
    """Return the folders of PYTHONPATH."""
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]


def processor() -> Iterator[Finding]:
    """Look at the processor and what it multiplies fast."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    has = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    text = f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores, {', '.join(has) or 'no vector instructions we use'}"
    if "AMX" not in has:
        text += "; without AMX bf16 gains little on the CPU"
    yield Finding("processor", text)


def kernels() -> Iterator[Finding]:
    """Compile the CPU kernels, or find them compiled."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not compiler:
        yield Finding("kernels", "switched off by an empty CXX: torch's operations are used")
        return
    if shutil.which(compiler[0]) is None:
        fix = "apt install g++, or name a compiler in CXX; without it everything works, more slowly"
        yield Finding("compiler", f"{compiler[0]} is not found", fix)
        return
    yield Finding("compiler", shutil.which(compiler[0]) or compiler[0])
    said = Lines()
    logger = logging.getLogger(f"{PACKAGE.name}.native.build")
    logger.addHandler(said)
    logger.propagate = False
    try:
        built = importlib.import_module(f"{PACKAGE.name}.native.build").kernels()
    except ModuleNotFoundError:  # torch, of which a line above has said enough
        return
    if built is None:
        fix = "update the compiler, or free the cache's disk; without kernels everything works, more slowly"
        yield Finding("kernels", said.last, fix)
    else:
        yield Finding("kernels", f"compiled, {Path(built._name).parent}")


class Lines(logging.Handler):
    """Keeps the last line that was logged."""

    last = "cannot be used"

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text."""
        self.last = record.getMessage()


def packages() -> Iterator[Finding]:
    """Look for the packages of each extra; what is missing is a fault only where every command needs it."""
    try:
        needed = importlib.metadata.requires("b2t_fairseq") or []
    except importlib.metadata.PackageNotFoundError:
        return
    missing: dict[str, list[str]] = {}
    for line in needed:
        requirement, _, condition = line.partition(";")
        name = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
        extra = condition.partition("extra ==")[2].strip(" \"'")
        if version(name) is None:
            missing.setdefault(extra, []).append(name)
    for extra, names in missing.items():
        if extra == "":
            yield Finding("packages", f"missing: {', '.join(names)}", f"pip install {' '.join(names)}")
        elif extra not in ("ve", "fixed"):
            text = f'not installed: {", ".join(names)} (pip install "b2t_fairseq[{extra}]" if you need it)'
            yield Finding(f"[{extra}]", text)


def disk() -> Iterator[Finding]:
    """Look at the room in the working folder and for temporary files."""
    for folder in dict.fromkeys((os.getcwd(), os.environ.get("TMPDIR", "/tmp"))):
        free = shutil.disk_usage(folder).free / 2**30
        fix = "free some: a checkpoint that does not fit is not written" if free < 1 else None
        yield Finding("disk", f"{free:.1f} GiB free in {folder}", fix)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    plugin,
    torch,
    fairseq,
    loading,
    packages,
    processor,
    kernels,
    disk,
)


def first_line(error: BaseException) -> str:
    """Return an error's first line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
