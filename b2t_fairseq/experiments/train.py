"""The paper's trainings: one command for any number of GPUs, with the paper's effective batch, that can be stopped.

    b2t-fairseq paper-train wmt_ende --connection b2t --layers 18-18 --gpus 8 [-- further fairseq options]

configs/paper/TASK.yaml -> the exact fairseq command -> one process, torchrun on one machine, or torchrun on many that
meet at MASTER_ADDR:MASTER_PORT. The same command again resumes from the last checkpoint.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..common.command_line import Parser, ours, shown
from ..common.errors import UserError
from ..common.processes import run
from ..connections import get_connection
from ..models.methods import add_code_options, code_options
from . import evaluate
from .batch import Batch, keep_batch
from .jobs.supervision import DIVERGED, Watch, supervise, torchrun
from .paper_cells import fingerprint_of
from .recipes import RECIPES, flags, given, given_number, read_paper_recipe, training_options
from .tasks import PAPER_CORPORA, corpus_name, find_corpus

PRECISIONS = {"fp32": [], "fp16": ["--fp16"], "bf16": ["--bf16"]}
PORT = 29500
NODES = ("SLURM_JOB_NUM_NODES", "SLURM_NNODES")


USAGE = "b2t-fairseq paper-train CORPUS [options] [-- further options of fairseq-train]"
DESCRIPTION = """\
Train on what scripts/prepare_CORPUS.sh made, with the values of configs/paper/CORPUS.yaml and the paper's effective
batch on any number of GPUs. Run the same command again to resume from the last checkpoint; SIGTERM or Ctrl-C writes one
first."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; mistakes are one line."""
    parser = Parser(prog="b2t-fairseq paper-train", usage=USAGE, description=DESCRIPTION)
    add = parser.add_argument
    corpora = [corpus for _, corpus in PAPER_CORPORA.values()]
    known = "; ".join(f"{c.name}: {', '.join(c.depths)} (default: {c.default_depth})" for c in corpora)
    add("task", metavar="CORPUS", choices=list(PAPER_CORPORA), type=corpus_name, help=", ".join(PAPER_CORPORA))
    add(
        "--connection",
        default="b2t",
        metavar="NAME",
        help="method (default: %(default)s); python -m b2t_fairseq.connections lists them",
    )
    add_code_options(add)
    add("--layers", metavar="N-M", help=f"depth; {known}")
    kinds = (
        "paper: the paper's values; released: those of its authors' code; own: a schedule of the method's own authors"
    )
    add("--recipe", default="paper", choices=RECIPES, help=f"{kinds} (default: %(default)s)")
    add("--data", metavar="DIR", help="what scripts/prepare_CORPUS.sh made (default: data/CORPUS)")
    add("--output", metavar="DIR", help="the run's folder (default: runs/paper/CORPUS/CONNECTION-LAYERS-RECIPE-SEED)")
    add("--gpus", type=int, metavar="N", help="GPUs of each machine (default: all that are found)")
    machines = "start the command on each, with MASTER_ADDR set (SLURM: scripts/slurm/train.sbatch)"
    machines = f"machines; {machines} (default: 1, under SLURM the job's)"
    add("--nodes", type=int, metavar="N", help=machines)
    add("--precision", default="fp16", choices=list(PRECISIONS), help="default: %(default)s")
    add("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    useless = "end a run that is still at the unigram level after so many updates"
    add("--stop-after", type=int, metavar="UPDATES", help=f"{useless} (default: the recipe's; 0: never)")
    add("--config", metavar="FILE", help="recipe (default: configs/paper/CORPUS.yaml)")
    add("--evaluate", action="store_true", help="then average, decode and score, as paper-evaluate does")
    add("--dry-run", action="store_true", help="print the exact command, run nothing")
    options = parser.parse_and_keep_further(arguments)
    options.of_task, options.corpus = find_corpus(options.task)
    corpus = options.corpus
    options.layers = options.layers or corpus.default_depth
    get_connection(options.connection)  # refuses an unknown one
    if options.layers not in corpus.depths:
        parser.error(f"--layers {options.layers}: {corpus.name} has the depths {', '.join(corpus.depths)}")
    for name, least in (("gpus", 1), ("nodes", 1), ("seed", 0), ("stop_after", 0)):
        if (value := getattr(options, name)) is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    options.data = str(corpus.binarised(Path(options.data or f"data/{corpus.name}")))
    name = f"{options.connection}-{options.layers}-{options.recipe}-{options.seed}"
    options.output = Path(options.output or f"runs/paper/{corpus.name}/{name}")
    options.config = options.config or corpus.recipe
    return options


@dataclass(frozen=True)
class Training:
    """One training: fairseq's command line, how it is started, and when it has no use continuing."""

    fairseq: list[str]
    command: list[str]
    batch: Batch
    watch: Watch
    fingerprint: str


def plan(options: argparse.Namespace) -> Training:
    """Plan what the options lead to; change nothing on disk."""
    task, corpus = options.of_task, options.corpus
    recipe = read_paper_recipe(options.config, task.command, corpus.depths, corpus.tests)
    wanted, train = training_options(recipe, options.connection, options.layers, options.recipe)
    gpus, nodes = count_gpus(options), count_nodes(options)
    max_tokens = given_number(options.further, "max-tokens") or train["max-tokens"]
    window = given_number(options.further, "tokens-per-sample") or train.get("tokens-per-sample", 1)
    batch = keep_batch(wanted, gpus, nodes, max_tokens, given_number(options.further, "update-freq"), window)
    architecture = f"{task.architecture_stem}_{options.connection}_{options.layers.replace('-', '_')}"
    fairseq = [
        options.data,
        *("--save-dir", str(options.output / "checkpoints"), "--arch", architecture),
        *flags(train),
        *("--update-freq", str(batch.update_freq), "--distributed-world-size", str(gpus * nodes)),
        *("--seed", str(options.seed), *PRECISIONS[options.precision]),
        *code_options(options.connection),
        *options.further,
    ]
    worker = ours("train", *fairseq)
    command = worker if gpus * nodes == 1 else [*torchrun(gpus, nodes, meeting_place(nodes)), *worker[1:]]
    stop = recipe["stop"]
    after = stop["after-updates"] if options.stop_after is None else options.stop_after
    count_targets = partial(task.target_counts, Path(options.data), train)
    what = options.connection, options.layers, options.recipe
    kept = [f"seed {options.seed}", options.precision, *options.further]
    made_by = fingerprint_of(task, corpus, recipe, *what, kept)
    return Training(fairseq, command, batch, Watch(count_targets, after, stop["within-bits"]), made_by)


def count_gpus(options: argparse.Namespace) -> int:
    """Return the GPUs of this machine, as given or as detected.

    Raises:
        UserError: there is none, or fewer than given, and this is neither a dry run nor a training on CPUs.
    """
    if options.gpus and (options.dry_run or "--cpu" in options.further):
        return options.gpus
    import torch

    gpus = torch.cuda.device_count()
    if gpus < (options.gpus or 1):
        asked = f", --gpus asks for {options.gpus}" if options.gpus else ""
        raise UserError(
            f"{gpus or 'no'} GPU{'s' * (gpus > 1)} found{asked}: --gpus N --dry-run shows the command for a machine "
            "with N GPUs, and --gpus N -- --cpu trains on N CPU processes"
        )
    return options.gpus or gpus


def count_nodes(options: argparse.Namespace) -> int:
    """Return the number of machines, as given, or as many as the SLURM job has."""
    return options.nodes or next((int(os.environ[name]) for name in NODES if os.environ.get(name, "").isdecimal()), 1)


def meeting_place(nodes: int) -> str | None:
    """Return where the machines find each other: MASTER_ADDR:MASTER_PORT, or the first one of the SLURM job.

    Raises:
        UserError: several machines, and nobody says where they meet.
    """
    if nodes == 1:
        return None
    host = os.environ.get("MASTER_ADDR")
    if not host and os.environ.get("SLURM_JOB_NODELIST"):
        listing = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
        host = run(listing).split()[0]
    if not host:
        raise UserError(
            f"--nodes {nodes}: set MASTER_ADDR to the first machine's name, the same on all of them, and start this "
            "command on each (SLURM: scripts/slurm/train.sbatch does both)"
        )
    return f"{host}:{os.environ.get('MASTER_PORT', PORT)}"


def facts(options: argparse.Namespace, training: Training) -> dict[str, Any]:
    """Describe what is trained, for training.json and the table's row."""
    chosen = {name: getattr(options, name) for name in ("task", "connection", "layers", "recipe", "seed", "precision")}
    batch = training.batch
    counts = {
        "gpus": batch.gpus,
        "nodes": batch.nodes,
        "tokens_per_update": batch.tokens,
        "wanted_tokens_per_update": batch.wanted,
    }
    return {**chosen, **counts, "fingerprint": training.fingerprint, "command": shown(training.command)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; return 0 when the training is complete, 75 when it was stopped and can resume, 3 when it diverged."""
    options = parse(arguments)
    training = plan(options)
    for line in training.batch.lines():
        print(f"# {line}")
    print(shown(training.command), flush=True)
    if options.dry_run:
        return 0
    if not os.path.isdir(options.data):
        raise UserError(
            f"--data: there is no {options.data}; run scripts/prepare_{options.task}.sh first, or name what it made"
        )
    if given(options.further, "save-dir") is not None:
        raise UserError("--save-dir (after --) belongs to the run's folder: use --output")
    status = supervise(training.command, options.output, training.watch, facts(options, training))
    if options.evaluate and status in (0, DIVERGED) and os.environ.get("SLURM_NODEID", "0") == "0":
        rows = ["--run", str(options.output), "--data", options.data, "--config", str(options.config)]
        rows += code_options(options.connection)
        evaluate.main([options.task, *rows, *(["--", "--cpu"] if "--cpu" in options.further else [])])
    return status


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
