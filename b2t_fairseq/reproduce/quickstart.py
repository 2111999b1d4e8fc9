"""The quickstart: one corpus, several connections trained side by side, one table of SacreBLEU scores.

corpus -> SentencePiece -> preprocess -> for each connection: train -> average -> generate -> score -> table and figure.
Every result lies in a folder whose name holds a hash of all that led to it, so a second start repeats only what is not
done or has been changed, and nothing is ever overwritten by other options.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..cli import forget_import_time_logging
from ..connections.registry import get_connection
from ..errors import UserError
from ..version import __version__
from . import prepare, report
from .progress import Display, History, sentence_counter, training_counter
from .recipe import flags, read_recipe
from .runner import Chain, Command, fingerprint, run_chains, write_atomically

BLOCKS = ("subwords", "train", "average", "generate")
RECIPE = Path(__file__).resolve().parents[2] / "configs" / "laptop" / "quickstart.yaml"
CORPUS_SEED = 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; mistakes are one sentence."""
    parser = Parser(prog="quickstart", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", metavar="DIR", help="parallel text train/val/test*.{SRC,TGT}[.gz] (default: the embedded corpus)")
    add("--source", default="en", metavar="LANG", help="source language, the suffix of its files (default: en)")
    add("--target", default="de", metavar="LANG", help="target language (default: de)")
    add("--connections", default="post,pre,b2t", metavar="A,B", help="what to compare (default: %(default)s)")
    add("--layers", default="18-18", metavar="N-M", help="encoder and decoder layers (default: %(default)s)")
    add("--updates", type=int, metavar="N", help="training updates (default: the recipe's max-update)")
    add("--vocab-size", type=int, metavar="N", help="joint subwords (default: the recipe's; with --data by its size)")
    add("--config", default=str(RECIPE), metavar="FILE", help="recipe (default: configs/laptop/quickstart.yaml)")
    add("--output", default="runs/quickstart", metavar="DIR", help="where results go (default: %(default)s)")
    add("--jobs", type=int, metavar="N", help="trainings at a time (default: all, at most two a core)")
    add("--dry-run", action="store_true", help="print every command, run none")
    options = parser.parse_args(arguments)
    options.connections = [name.strip() for name in options.connections.split(",") if name.strip()]
    options.depths = depths(options.layers)
    for name, least in (("updates", 1), ("vocab_size", 10), ("jobs", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    if options.source == options.target:
        parser.error(f"--source and --target are both {options.source}")
    if not options.connections or len(set(options.connections)) < len(options.connections):
        parser.error("--connections needs different names, as in post,pre,b2t")
    for name in options.connections:
        get_connection(name)  # refuses an unknown one
    options.recipe = read_recipe(options.config, BLOCKS)
    return options


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line, without the usage text, and which takes no abbreviations."""

    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str):
        raise UserError(f"{message}; --help lists the options")


def depths(text: str) -> tuple[int, int]:
    """``18-18`` -> (18, 18)."""
    numbers = text.split("-")
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) for number in numbers):
        raise UserError(f"--layers {text}: write encoder and decoder layers as in 18-18")
    return int(numbers[0]), int(numbers[1])


class Plan:
    """All commands and where their results go; making a plan changes nothing on disk."""

    def __init__(self, options: argparse.Namespace, corpus: prepare.Corpus):
        self.options, self.corpus = options, corpus
        self.recipe = options.recipe
        size = options.vocab_size or (prepare.vocabulary_for(len(corpus.splits["train"])) if options.data else None)
        self.subwords = dict(self.recipe["subwords"]) | ({"vocab_size": size} if size else {})
        self.root = Path(options.output)
        data_hash = fingerprint(corpus.fingerprint(), repr(sorted(self.subwords.items())), __version__)
        self.data = self.root / f"data-{data_hash[:8]}"
        self.preprocess = self.plan_preprocess(data_hash)
        self.chains = [Chain(name, self.plan_connection(name)) for name in options.connections]

    def plan_preprocess(self, data_hash: str) -> Command:
        """Binarisation of all splits with one joint dictionary."""
        pieces = [str(self.data / f"{name}.pieces") for name in self.corpus.splits]
        arguments = ours("preprocess", "--source-lang", self.corpus.source, "--target-lang", self.corpus.target)
        arguments += ["--trainpref", pieces[0], "--validpref", pieces[1], "--testpref", ",".join(pieces[2:])]
        arguments += ["--joined-dictionary", "--destdir", str(self.data / "bin"), "--workers", "1"]
        return Command("preprocess", arguments, self.data, "preprocess", depends=data_hash)

    def plan_connection(self, connection: str) -> list[Command]:
        """Training, averaging and one decoding for each test set."""
        train = dict(self.recipe["train"])
        last = self.recipe["average"].get("num-update-checkpoints", 1)
        if self.options.updates is not None:
            interval = max(1, self.options.updates // last)  # a short training still ends with enough checkpoints
            train |= {"max-update": self.options.updates}
            train["save-interval-updates"] = min(train["save-interval-updates"], interval)
        label = f"{connection} {self.options.layers}"
        what = [*architecture(connection, self.options.depths), *self.languages(), *flags(train)]
        key = fingerprint(self.preprocess.fingerprint, *what)
        folder = self.root / f"{connection}-{self.options.layers}-{key[:8]}"
        checkpoints, averaged = folder / "checkpoints", folder / "averaged.pt"
        commands = [
            Command(
                f"train {label}",
                ours("train", str(self.data / "bin"), "--save-dir", str(checkpoints), *what),
                folder,
                "train",
                total=train["max-update"],
                count=training_counter(),
                resumes=True,
                depends=self.preprocess.fingerprint,
            )
        ]
        arguments = [sys.executable, "-m", "b2t_fairseq.average_checkpoints", "--inputs", str(checkpoints)]
        arguments += ["--output", str(averaged), *flags(self.recipe["average"])]
        settle, depends = partial(what_there_is, checkpoints, last), commands[-1].fingerprint
        commands.append(Command(f"average {label}", arguments, folder, "average", depends=depends, settle=settle))
        for number, test in enumerate(self.corpus.tests):
            subset = f"test{number or ''}"
            where = ["--path", str(averaged), "--gen-subset", subset, *self.languages()]
            arguments = ours("generate", str(self.data / "bin"), *where, *flags(self.recipe["generate"]))
            count, total = sentence_counter(), len(self.corpus.splits[test])
            depends = commands[1].fingerprint
            command = Command(
                f"decode {label} {test}", arguments, folder, f"generate-{test}", total, count, False, depends
            )
            commands.append(command)
        return commands

    def languages(self) -> list[str]:
        """The two options that name the language pair."""
        return ["--source-lang", self.corpus.source, "--target-lang", self.corpus.target]

    def lines(self) -> list[str]:
        """The plan as text: what ``--dry-run`` prints."""
        corpus = self.options.data or f"the embedded corpus, seed {CORPUS_SEED}"
        told = ", ".join(f"{key} {value}" for key, value in self.subwords.items())
        commands = [self.preprocess, *(command for chain in self.chains for command in chain.commands)]
        return [f"# {corpus} -> SentencePiece ({told}) -> {self.data}", *map(str, commands)]


def what_there_is(checkpoints: Path, count: int, arguments: Sequence[str]) -> Sequence[str]:
    """The averaging of what a short training left: fairseq writes no update checkpoint where an epoch ends."""
    found = sorted(checkpoints.glob("checkpoint_*_*.pt"), key=lambda path: int(path.stem.rpartition("_")[2]))
    if len(found) >= count:
        return arguments
    names = [str(path) for path in [*found, checkpoints / "checkpoint_last.pt"]]
    return [*arguments[:3], "--inputs", *names, "--output", arguments[arguments.index("--output") + 1]]


def ours(command: str, *arguments: str) -> list[str]:
    """The command line of one of our commands."""
    return [sys.executable, "-m", "b2t_fairseq.cli", command, *arguments]


def architecture(connection: str, layers: tuple[int, int]) -> list[str]:
    """The flags that choose the tiny architecture of a connection at a depth, which may have no name of its own."""
    from fairseq.models import ARCH_MODEL_REGISTRY

    name = f"transformer_{connection}_{layers[0]}_{layers[1]}_tiny"
    if name in ARCH_MODEL_REGISTRY:
        return ["--arch", name]
    deeper = ["--encoder-layers", str(layers[0]), "--decoder-layers", str(layers[1])]
    return ["--arch", f"transformer_{connection}_18_18_tiny", *deeper]


def read_corpus(options: argparse.Namespace) -> prepare.Corpus:
    """The user's parallel text, or the embedded corpus."""
    if options.data is not None:
        return prepare.find_corpus(Path(options.data), options.source, options.target)
    if (options.source, options.target) != ("en", "de"):
        raise UserError("the embedded corpus is English-German: for another language pair name its folder with --data")
    return prepare.embedded_corpus(CORPUS_SEED)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps a second quickstart out of the same output folder; the lock goes when this process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 (held until the process ends)
    except OSError as error:
        raise UserError(
            f"--output {folder} cannot be written ({error.strerror.lower()}): name another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another quickstart is at work in {folder}: wait for it, or use another --output"
            ) from error
        yield


def make_row(chain: Chain, plan: Plan) -> tuple[report.Row, History]:
    """A connection's results, read from its folder."""
    from ..evaluation.bleu import corpus_bleu, read_generate_output

    folder = chain.commands[0].folder
    history = History()
    with contextlib.suppress(OSError), open(folder / "train.log", encoding="utf-8", errors="replace") as log:
        history.read(log)
    row = report.Row(
        chain.name, parameters=history.parameters, failure=chain.failure, checkpoint=str(folder / "averaged.pt")
    )
    if history.train:
        row.train_perplexity, row.valid_perplexity = history.train_perplexity(), history.valid_perplexity()
    if chain.failure is None:
        row.signature = signature(folder / "averaged.pt")
        row.scores = {
            test: corpus_bleu(
                read_generate_output(folder / f"generate-{test}.log"), [pair[1] for pair in plan.corpus.splits[test]]
            )
            for test in plan.corpus.tests
        }
    return row, history


def signature(checkpoint: Path) -> str:
    """The signature a checkpoint carries."""
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu

    from ..signature import signature_of

    return signature_of(load_checkpoint_to_cpu(str(checkpoint))) or "connection:unknown"


def baseline_row(corpus: prepare.Corpus) -> report.Row:
    """The word-by-word lexicon, learned from the same training pairs."""
    from ..corpora.lexicon_baseline import LexiconBaseline
    from ..evaluation.bleu import corpus_bleu

    lexicon = LexiconBaseline.fit(corpus.splits["train"])
    row = report.Row("word-by-word lexicon", signature="baseline:lexicon", checkpoint="none")
    for test in corpus.tests:
        pairs = corpus.splits[test]
        row.scores[test] = corpus_bleu([lexicon.translate(source) for source, _ in pairs], [pair[1] for pair in pairs])
    return row


def work(plan: Plan, seconds: dict[str, float]) -> bool:
    """Runs what is not done and writes the report; returns whether every chain ended without an accident."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = min(plan.options.jobs or 2 * cores, len(plan.chains))
    with timed("corpus and subwords", seconds):
        counts = prepare.prepare(plan.corpus, plan.subwords, plan.data)
        told = ", ".join(f"{name}: {count}" for name, count in counts.items())
        print(f"{plan.data}: {told}", file=sys.stderr)
        binarise = Chain("preprocess", [plan.preprocess])
        run_chains([binarise], 1, 1, Display())
        if binarise.failure:
            raise UserError(binarise.failure)
    with timed("training, averaging, decoding", seconds):
        run_chains(plan.chains, jobs, max(1, cores // jobs), Display())
    with timed("scores and report", seconds):
        made = [make_row(chain, plan) for chain in plan.chains]
        rows = [*(row for row, _ in made), baseline_row(plan.corpus)]
        histories = {chain.name: history for chain, (_, history) in zip(plan.chains, made, strict=True)}
        write_report(plan, rows, histories, seconds)
    return all(chain.failure is None or chain.failure.startswith("training failed") for chain in plan.chains)


def write_report(
    plan: Plan, rows: Sequence[report.Row], histories: Mapping[str, History], seconds: Mapping[str, float]
) -> None:
    """table.md, curves.png and results.json in the output folder, and the table on stdout."""
    tests, layers = plan.corpus.tests, plan.options.layers
    notes = [f"{chain.name}: {chain.failure}" for chain in plan.chains if chain.failure]
    text = "\n\n".join(filter(None, [report.table(rows, tests), "\n".join(notes), report.signatures(rows, tests)]))
    write_atomically(
        plan.root / "table.md", f"# {layers} layers, {plan.corpus.source}-{plan.corpus.target}\n\n{text}\n"
    )
    report.draw_curves(histories, plan.root / "curves.png", f"{layers} layers")
    commands = {f"{chain.name} {name}": value for chain in plan.chains for name, value in chain.seconds.items()}
    settings = {key: value for key, value in vars(plan.options).items() if key != "dry_run"}
    report.write_results(plan.root / "results.json", rows, histories, settings, {**commands, **seconds})
    print(
        f"\n{text}\n\nwritten: "
        + ", ".join(str(plan.root / name) for name in ("table.md", "curves.png", "results.json"))
    )


@contextlib.contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Notes the wall time of a phase."""
    began = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - began, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plans, then works; 0 if all is well (a training that diverges is a result), 1 after an accident."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # children are stopped as by Ctrl-C
    forget_import_time_logging()  # fairseq's, at level DEBUG
    logging.root.setLevel(logging.WARNING)
    options = parse(arguments)
    plan = Plan(options, read_corpus(options))
    if options.dry_run:
        print("\n".join(plan.lines()))
        return 0
    seconds: dict[str, float] = {}
    with exclusive(plan.root):
        fine = work(plan, seconds)
    print("wall time: " + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    return 0 if fine else 1


if __name__ == "__main__":
    from ..cli import guarded

    sys.exit(guarded(main))
