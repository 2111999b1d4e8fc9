"""What a figure was taken on: processor, versions, commit, date."""

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ..version import __version__
from . import processes
from .errors import UserError

FAIRSEQS = ("ve-fairseq", "fairseq-fixed", "fairseq")


def machine(threads: int, device: str) -> dict:
    """Return processor, versions, date, and how busy the machine is now."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "python": platform.python_version(),
        "torch": version("torch"),
        "fairseq": next((f"{name} {installed}" for name in FAIRSEQS if (installed := version(name))), None),
        "plugin": __version__,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def check_device(device: str) -> None:
    """Refuse "cuda" where torch sees no GPU.

    Raises:
        UserError: says where to look for the reason.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU; b2t-fairseq doctor says why")


def device_of(options: Sequence[str] = ()) -> str:
    """Return what fairseq computes on here with these options: the first GPU's name, or "cpu"."""
    import torch

    return "cpu" if "--cpu" in options or not torch.cuda.is_available() else torch.cuda.get_device_name(0)


def busy(facts: dict) -> str | None:
    """Return a warning if other work ran when we began."""
    if facts["load_average"] < 0.3:
        return None
    return f"the machine was not idle: load average {facts['load_average']} at the start; publish no figure of this run"


def cpu_model() -> str:
    """Return the processor's own name."""
    if (info := Path("/proc/cpuinfo")).exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """Return a package's version without importing it, None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit of the checkout that this package is in, with a + if files differ from it; None outside git."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists():  # an installed package may lie in somebody else's checkout
        return None
    try:
        revision, changes = [
            processes.run(["git", *words], cwd=package).strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+" if changes else "")
