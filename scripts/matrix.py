"""The work of scripts/test_matrix.sh: fresh environments x a core subset of the tests. Needs nothing but Python."""

import argparse
import concurrent.futures
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: short name -> what the table calls it
FAIRSEQS = {
    "ve": "`ve-fairseq` 0.12.3",
    "fixed": "`fairseq-fixed` 0.12.3.1",
    "pypi": "PyPI `fairseq` 0.12.2",
    "main": "git main (3d262bb2)",
}
MAIN = "https://github.com/facebookresearch/fairseq"
#: short name -> what pip builds, where it is not an extra of ours
SOURCES = {
    "pypi": "fairseq==0.12.2",
    "main": f"fairseq @ git+{MAIN}@3d262bb2",
}
TORCHES = {"2.1": "2.1.2", "2.13": "2.13.0", "2.14": "2.14.1"}
#: the core subset, less than 3 minutes on an idle core
TESTS = ("-m", "not slow", "tests/connections/test_formulas.py", "tests/connections/test_contract.py", "tests/models")
TRAINING = "tests/test_end_to_end.py::test_every_connection_trains_resumes_averages_generates_and_validates[b2t]"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore")
BUILD_TOOLS = ("setuptools>=64", "wheel", "cython", "numpy")
NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info"),
    *("build", "dist", "runs", "outputs", "results", "shared"),
)
VERSIONS = """
import importlib.metadata, json, platform
found = {"python": platform.python_version()}
for name in ("torch", "numpy", "ve-fairseq", "fairseq-fixed", "fairseq"):
    try: found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: pass
print(json.dumps(found))
"""


class Cell(NamedTuple):
    """One environment."""

    python: str
    fairseq: str
    torch: str

    @property
    def name(self) -> str:
        """Return what `--only` calls it."""
        return "-".join(self)


class Failed(Exception):
    """A command of the installation failed; the text is the table's."""


def is_sensible(cell: Cell) -> bool:
    """Return whether the three exist for each other."""
    minor = int(cell.python.partition(".")[2])
    if cell.torch == "2.1" and minor > 11:
        return False
    if cell.fairseq == "ve":
        return minor in (11, 12)
    return cell.fairseq == "fixed" or minor <= 10  # the others' dataclasses need Python 3.10


def all_cells() -> list[Cell]:
    """Return the sensible cells, in the table's order."""
    cells = (Cell(python, fairseq, torch) for python in PYTHONS for fairseq in FAIRSEQS for torch in TORCHES)
    return [cell for cell in cells if is_sensible(cell)]


def find_python(version: str) -> str | None:
    """Return a Python of that version that runs: on PATH (a pyenv shim may be there and fail), or one of pyenv's."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, reversed(pyenv))):
        look = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        if candidate and output_of(candidate, "-c", look) == version:
            return candidate
    return None


def output_of(*command: str) -> str | None:
    """Return what a command prints, or None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


class Run:
    """The commands of one cell, with one log.

    Attributes:
        folder: of the cell: its environment, `env`, and its copy of the checkout. The log stands beside it.
        python: of the environment.
    """

    def __init__(self, cell: Cell, options: argparse.Namespace):
        self.cell, self.is_dry, self.index = cell, options.dry_run, options.torch_index
        self.folder = options.folder / cell.name
        self.log = options.folder / f"{cell.name}.log"
        self.checkout = self.folder / "checkout"
        self.python = str(self.folder / "env" / "bin" / "python")
        self.row = {"cell": list(cell), "date": time.strftime("%Y-%m-%d")}

    def __call__(self) -> dict:
        """Install, test, train; return the table's row."""
        began = time.monotonic()
        base = find_python(self.cell.python)
        if base is None:
            return self.row | {"problem": f"Python {self.cell.python} not found"}
        if not self.is_dry:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.log.unlink(missing_ok=True)
            shutil.copytree(ROOT, self.checkout, ignore=NOT_COPIED)
        try:
            self.install(base)
        except Failed as problem:
            return self.row | {"problem": str(problem)}
        self.say("tests of connections and models")
        tests, tests_status = self.command(self.python, *PYTEST, *TESTS)
        self.say("a training")
        training, status = self.command(self.python, *PYTEST, TRAINING)
        if self.is_dry:
            return self.row
        if killed := min(tests_status, status, 0):  # from outside, or for its memory: no result of this cell
            return self.row | {"problem": f"stopped by signal {-killed}"}
        return self.row | {
            "versions": json.loads(self.command(self.python, "-c", VERSIONS)[0]),
            "tests": last_line(tests),
            "passed": tests_status == 0 and status == 0,
            "training": "yes" if status == 0 else reason(training),
            "minutes": round((time.monotonic() - began) / 60, 1),
        }

    def install(self, base: str) -> None:
        """Make the environment, by the README's commands."""
        if self.cell.fairseq == "main" and self.command("git", "ls-remote", MAIN, "HEAD")[1]:
            raise Failed("not reachable")
        self.say("torch")
        self.must(base, "-m", "venv", str(self.folder / "env"))
        constraints = self.folder / "constraints.txt"  # what is installed later must leave torch alone
        is_old = self.cell.torch == "2.1"
        if not self.is_dry:
            constraints.write_text(f"torch=={TORCHES[self.cell.torch]}\n" + "numpy<2\n" * is_old)
        pip = (self.python, "-m", "pip", "install", "-c", str(constraints))
        self.install_torch(pip)
        self.say(FAIRSEQS[self.cell.fairseq].replace("`", ""))
        if self.cell.fairseq == "ve":
            self.must(*pip, "-e", ".[ve]")
        else:
            self.must(*pip, *BUILD_TOOLS)
            build = ("env", "-u", "CUDA_HOME", *pip, "--no-build-isolation")
            if self.cell.fairseq == "fixed":
                self.must(*build, "-e", ".[fixed]")
            else:
                self.must(*pip, "pip<24.1")  # newer ones refuse omegaconf 2.0.6, which both need
                # isolated, where no torch is, the PyPI package leaves out an extension whose source it forgot
                self.must(*(pip if self.cell.fairseq == "pypi" else build), SOURCES[self.cell.fairseq])
                self.must(*build, "-e", ".")
        self.must(*pip, "pytest")

    def install_torch(self, pip: Sequence[str]) -> None:
        """Install the CPU build, or PyPI's, with CUDA, where the index of the CPU builds is not reachable."""
        version = TORCHES[self.cell.torch]
        numpy = ["numpy<2"] if self.cell.torch == "2.1" else ["numpy"]
        cpu = ("--retries", "1", "--extra-index-url", self.index, f"torch=={version}+cpu")
        _, status = self.command(*pip, *cpu, *numpy)
        if status or self.is_dry:
            self.must(*pip, f"torch=={version}", *numpy)

    def must(self, *command: str) -> None:
        """Run a command that has to succeed."""
        if self.command(*command)[1]:
            raise Failed(f"installation failed at `{command[-1]}`")

    def command(self, *command: str) -> tuple[str, int]:
        """Run a command in the copy of the checkout; return its output, which the log gets, too, and its status."""
        if self.is_dry:
            print(f"{self.cell.name}$ {shlex.join(command)}")
            return "", 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(name, None)
        done = subprocess.run(
            command, cwd=self.checkout, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(command)}\n{done.stdout}\n")
        return done.stdout, done.returncode

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"{self.cell.name}: {text}", file=sys.stderr, flush=True)


def last_line(output: str) -> str:
    """Return "330 passed" or "2 failed, 328 passed" of pytest's last line, or what was printed instead."""
    lines = output.strip().splitlines() or ["no output"]
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)\b", lines[-1])
    return ", ".join(counts) or lines[-1].removeprefix("E").strip()[:80]


def reason(output: str) -> str:
    """Return why the training failed: the command's one-line error, if it printed one."""
    errors = re.findall(r"^(?:E +)?error: (?:/\S+: )?(.{1,100})", output, flags=re.MULTILINE)
    return f"no: {errors[0]}" if errors else f"no: {last_line(output)}"


def table(rows: Sequence[dict]) -> str:
    """Return the Markdown table of the rows."""
    head = ["Python", "fairseq", "torch", "numpy", "tests of connections and models", "trains and generates", "date"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        python, fairseq, torch = row["cell"]
        versions = row.get("versions", {})
        results = [row["problem"], "–"] if "problem" in row else [row["tests"], row["training"]]
        names = [versions.get("python", python), FAIRSEQS[fairseq], versions.get("torch", TORCHES[torch])]
        lines.append([*names, versions.get("numpy", "–"), *results, row["date"]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def read_row(path: Path) -> dict | None:
    """Return a finished cell's row; None if it has none, or its file was cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def run_cell(cell: Cell, options: argparse.Namespace) -> dict:
    """Run a cell, unless it has its row; return the row."""
    path = options.folder / "rows" / f"{cell.name}.json"
    if (row := read_row(path)) and not options.again:
        print(f"{cell.name}: has its row ({path})", file=sys.stderr)
        return row
    run = Run(cell, options)
    row = run()
    if options.dry_run:
        return row
    if "problem" in row:
        run.say(f"{row['problem']}; log: {run.log}")
    else:  # what could not be installed is tried again next time
        path.with_suffix(".partial").write_text(json.dumps(row) + "\n", encoding="utf-8")
        path.with_suffix(".partial").replace(path)
        run.say(f"{row['tests']}; trains and generates: {row['training']}; {row['minutes']} minutes")
    if not options.keep:
        shutil.rmtree(run.folder, ignore_errors=True)
    return row


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line."""

    def error(self, message: str):
        """Print the mistake, and exit."""
        self.exit(2, f"error: {message}\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="scripts/test_matrix.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fresh environments x a core subset of the tests; prints the README's table.\n\n"
        "A cell is one Python, one fairseq and one torch. It gets an environment and a copy of the checkout of its\n"
        "own, is installed by the README's commands, runs the tests of connections and models, then trains, resumes,\n"
        "averages, generates and validates. 5 to 15 minutes and up to 8 GB a cell; without the index of torch's CPU\n"
        "builds, PyPI's CUDA builds are downloaded. A finished cell keeps its row: run the command again to resume.",
        epilog="cells:\n  " + "\n  ".join(cell.name for cell in all_cells()),
    )
    parser.add_argument("--only", nargs="+", metavar="CELL", help="these cells, such as 3.11-ve-2.13 or '3.1?-fixed-*'")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "matrix", help="environments, logs and rows")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at the same time (default: 1)")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    parser.add_argument("--again", action="store_true", help="run the finished cells of --only again")
    parser.add_argument("--torch-index", default="https://download.pytorch.org/whl/cpu", help="index of CPU builds")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    options.cells = all_cells()
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: must be at least 1")
    if options.again and not options.only:
        parser.error("--again needs --only: the cells to run again")
    if options.only:
        for pattern in options.only:
            if not fnmatch.filter((cell.name for cell in options.cells), pattern):
                parser.error(f"--only {pattern}: no such cell; --help lists them")
        options.cells = [c for c in options.cells if any(fnmatch.fnmatch(c.name, pattern) for pattern in options.only)]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells; print the table. Returns 1 if a cell's tests or training failed."""
    options = parse(arguments)
    if not options.dry_run:
        (options.folder / "rows").mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda cell: run_cell(cell, options), options.cells))
    if options.dry_run:
        return 0
    known = {cell: read_row(options.folder / "rows" / f"{cell.name}.json") for cell in all_cells()}
    fresh = {tuple(row["cell"]): row for row in rows}
    print(table([row for cell in all_cells() if (row := fresh.get(cell) or known[cell])]))
    return int(any(not row.get("passed", True) for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; run the same command again to resume", file=sys.stderr)
        sys.exit(130)
