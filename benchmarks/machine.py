"""What the figures were taken on."""

import importlib.metadata
import os
import platform
import runpy
import subprocess
import time
from pathlib import Path

from b2t_fairseq.common import processes

from .sides import ROOT


def machine(threads: int, device: str) -> dict:
    """Return processor, versions, date, and how busy the machine was before we began."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "python": platform.python_version(),
        "torch": version("torch"),
        "fairseq": next((f"{name} {installed}" for name in FAIRSEQS if (installed := version(name))), None),
        "plugin": runpy.run_path(str(ROOT / "b2t_fairseq" / "version.py"))["__version__"],
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "load_average": round(os.getloadavg()[0], 2),
    }


FAIRSEQS = ("ve-fairseq", "fairseq-fixed", "fairseq")


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
    """Return the checkout's commit, with a + if files differ from it; None outside git."""
    try:
        revision, changes = [
            processes.run(["git", *words], cwd=ROOT).strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+" if changes else "")
