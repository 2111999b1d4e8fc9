"""From trained runs to rows of the paper's table: average, decode each test set, score, compare.

    b2t-fairseq paper-evaluate wmt_ende --run runs/paper/wmt_ende/b2t-18-18-paper-1 [--run ...]

Writes averaged.pt, evaluation/TEST.log and row.json, row.md into each run's folder; what is done from the same
checkpoints with the same options is kept. A training that failed gets its row, too.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoints.loading import load_checkpoint
from ..checkpoints.signature import parse_signature, signature_of
from ..common import machine
from ..common.command_line import Parser, ours, shown
from ..common.errors import UserError
from ..common.files import write_atomically, write_record
from ..corpora.fetching.prepared import TestSet, read_prepared
from ..evaluation.score import Score
from ..models.methods import add_code_options, code_options
from .jobs.progress import Display, History
from .jobs.runner import Chain, Command, fingerprint, run_chains
from .jobs.supervision import FAILED, TRAINING, recorded
from .recipes import flags, merged, read_paper_recipe
from .rows import curves, write_row
from .tasks import PAPER_CORPORA, Corpus, Task, corpus_name, find_corpus

Scores = Mapping[str, Mapping[str, Score]]  # test -> metric -> score


USAGE = (
    "b2t-fairseq paper-evaluate CORPUS --run DIR [--run DIR ...] [options] [-- further options of the decoding command]"
)
DESCRIPTION = """\
Average the last checkpoints of each run, decode the paper's test sets with the values of configs/paper/CORPUS.yaml,
score them, and write the row of the paper's table, in Markdown and JSON, into the run's folder. A finished
step is kept."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; mistakes are one line."""
    parser = Parser(prog="b2t-fairseq paper-evaluate", usage=USAGE, description=DESCRIPTION)
    add = parser.add_argument
    add("task", metavar="CORPUS", choices=list(PAPER_CORPORA), type=corpus_name, help=", ".join(PAPER_CORPORA))
    several = "a training's folder; with several, one table, and where the metric has a test, each against the first"
    add("--run", action="append", required=True, type=Path, metavar="DIR", help=several)
    add("--data", type=Path, metavar="DIR", help="what scripts/prepare_CORPUS.sh made (default: data/CORPUS)")
    add_code_options(add)
    add("--tests", metavar="A,B", help="test sets (default: the paper's)")
    add("--config", metavar="FILE", help="recipe (default: configs/paper/CORPUS.yaml)")
    add("--dry-run", action="store_true", help="print the commands, run none")
    options = parser.parse_and_keep_further(arguments)
    options.of_task, options.corpus = task, corpus = find_corpus(options.task)
    options.data = corpus.binarised(options.data or Path("data") / corpus.name)
    options.tests = options.tests.split(",") if options.tests else list(corpus.tests)
    if unknown := [test for test in options.tests if test not in corpus.tests]:
        parser.error(f"--tests {unknown[0]}: {corpus.name} has {', '.join(corpus.tests)}")
    options.recipe = read_paper_recipe(options.config or corpus.recipe, task.command, corpus.depths, corpus.tests)
    if len({run.resolve() for run in options.run}) < len(options.run):
        parser.error("--run: the same folder twice")
    return options


def test_sets(options: argparse.Namespace) -> dict[str, TestSet]:
    """Return the prepared test sets that were asked for, by name.

    Raises:
        UserError: the corpus was prepared without one of them.
    """
    prepared = read_prepared(options.data, options.corpus.name)
    if missing := [test for test in options.tests if test not in prepared]:
        raise UserError(
            f"{options.data.parent} was prepared without {missing[0]}: it has {', '.join(prepared) or 'no test set'}; "
            "leave it out of --tests"
        )
    return {test: prepared[test] for test in options.tests}


def references(task: type[Task], test: TestSet) -> list[str]:
    """Return the raw references of a test set (for a language model: the text)."""
    if not test.references.is_file():
        raise UserError(f"{test.references}: no references there; prepare the corpus again")
    return task.read_references(test.references)


def chain(options: argparse.Namespace, run: Path) -> Chain:
    """Plan averaging, then decoding of each test set, for one run."""
    task, averaged, name = options.of_task, run / "averaged.pt", name_of(options, run)
    arguments = [sys.executable, "-m", "b2t_fairseq.average_checkpoints", "--inputs", str(run / "checkpoints")]
    arguments += ["--output", str(averaged), *flags(options.recipe["average"])]
    stamps = [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in sorted(run.glob("checkpoints/*.pt"))]
    folder, made_from = run / "evaluation", fingerprint(*stamps)
    commands = [Command(f"average {name}", arguments, folder, "average", depends=made_from)]
    is_prepared = options.data.is_dir()  # else this is a dry run
    tests = test_sets(options) if is_prepared else {test: TestSet(test, Path()) for test in options.tests}
    for test, prepared in tests.items():
        block = flags(merged(options.recipe, task.command, test))
        where = [str(options.data), "--path", str(averaged), "--gen-subset", prepared.subset]
        code = code_options(str(recorded(run, TRAINING).get("connection")))
        arguments = ours(task.command, *where, *block, *code, *options.further)
        counter = task.sentence_counter()
        counted = (
            {"total": max(1, len(references(task, prepared))), "count": counter} if counter and is_prepared else {}
        )
        settle, depends = partial(task.fitting_arguments, averaged), commands[0].fingerprint
        commands.append(Command(f"{name} {test}", arguments, folder, test, depends=depends, settle=settle, **counted))
    return Chain(name, commands)


def name_of(options: argparse.Namespace, run: Path) -> str:
    """Return a run's name: its folder's, or the whole path where two runs have folders of one name."""
    names = [other.resolve().name for other in options.run]
    return run.resolve().name if names.count(run.resolve().name) < 2 else str(run)


def averaged_facts(run: Path) -> dict[str, Any]:
    """Describe a run's averaged checkpoint: the model's signature, the checkpoints in it, the newest one's updates."""
    state = load_checkpoint(run / "averaged.pt")
    log = (run / "evaluation" / "average.log").read_text(encoding="utf-8")
    made_of = re.search(r"average of \d+ \([^)]*\)", log)
    history = state.get("optimizer_history") or [{}]
    return {
        "signature": signature_of(state) or "connection:unknown",
        "checkpoint": made_of[0] if made_of else str(run / "averaged.pt"),
        "updates": history[-1].get("num_updates"),
    }


def row(options: argparse.Namespace, run: Path, scores: Scores | None, failure: str | None) -> dict[str, Any]:
    """Build a row of the paper's table: what was run and evaluated how, and its scores or why there are none."""
    corpus, trained = options.corpus, recorded(run, TRAINING)
    history = read_history(run)
    facts = {"scale": "paper", "task": options.of_task.name, "corpus": corpus.name, "run": name_of(options, run)}
    kept = ("connection", "layers", "recipe", "seed", "tokens_per_update", "wanted_tokens_per_update")
    facts |= {key: trained.get(key) for key in kept} | {"fingerprint": row_fingerprint(options, trained)}
    facts |= {"parameters": history.parameters, "curve": curves(history), "seconds": {"train": round(history.seconds)}}
    facts |= {"machine": machine.machine(1, machine.device_of(options.further))}
    facts["command"] = trained.get("command")
    facts |= {"metrics": list(corpus.metrics), "failure": failure, "signature": None, "checkpoint": None}
    facts |= {"updates": None, "scores": {}, "mean": None, "evaluated_by": {}}
    if failure is not None or scores is None:
        return facts
    facts |= averaged_facts(run)
    facts |= {key: parse_signature(facts["signature"]).get(key) for key in ("connection", "layers")}
    facts["scores"] = {
        test: {name: by_metric[name]._asdict() for name in corpus.metrics} for test, by_metric in scores.items()
    }
    if corpus.shows_mean and set(scores) == set(corpus.tests):
        first = corpus.metrics[0]
        facts["mean"] = round(sum(by_metric[first].score for by_metric in scores.values()) / len(scores), 2)
    decoding = chain(options, run).commands[1:]
    facts["evaluated_by"] = {command.name: shown(command.arguments) for command in decoding}
    return facts


def table(corpus: Corpus, tests: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the rows as Markdown; under it the models' and the metrics' signatures."""
    names = corpus.metrics
    columns = [(test, name) for test in tests for name in names]
    means = ["mean"] if corpus.shows_mean else []
    head = ["run", *(test if len(names) == 1 else name for test, name in columns), *means]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for facts in rows:
        if facts["failure"]:
            lines.append([facts["run"], "training failed", *[""] * (len(head) - 2)])
            continue
        cells = [f"{facts['scores'][test][name]['score']:.2f}" for test, name in columns]
        mean = "" if facts["mean"] is None else f"{facts['mean']:.2f}"
        lines.append([facts["run"], *cells, *([mean] if means else [])])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = [f"{facts['run']}: {facts['failure'] or facts['signature'] + '; ' + facts['checkpoint']}" for facts in rows]
    return "\n".join([text, "", *notes, "", *signature_lines(columns, rows)])


def signature_lines(columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List each signature of a metric once, with the test sets (and the runs, unless it is all) it belongs to."""
    scored = [facts for facts in rows if not facts["failure"]]
    places_of: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for test, name in columns:
        for facts in scored:
            signature = facts["scores"][test][name]["signature"]
            places_of.setdefault((name, signature), []).append((facts["run"], test))
    lines = []
    for (name, signature), places in places_of.items():
        runs, tests = (list(dict.fromkeys(side)) for side in zip(*places, strict=True))
        whose = "" if len(runs) == len(scored) else f"{', '.join(runs)}: "
        lines.append(f"- {whose}{', '.join(tests)} {name}: {signature}")
    return lines


def compare(options: argparse.Namespace, runs: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Run the task's paired test of each run against the first on each test set; empty if it has none."""
    compared, task = {}, options.of_task
    for test, prepared in test_sets(options).items():
        logs = {name_of(options, run): run / "evaluation" / f"{test}.log" for run in runs}
        if (results := task.compare(logs, references(task, prepared))) is not None:
            compared[test] = results
    return compared


def evaluate(options: argparse.Namespace, run: Path) -> dict[str, Any]:
    """Run what is not done for one run, and write its row."""
    task, scores, failure = options.of_task, None, recorded(run, FAILED).get("reason")
    if failure is None:
        steps = chain(options, run)
        run_chains([steps], 1, 1, Display())
        if steps.failure:
            raise UserError(steps.failure)
        scores = {
            test: task.score_output(run / "evaluation" / f"{test}.log", references(task, prepared), True)
            for test, prepared in test_sets(options).items()
        }
    facts = row(options, run, scores, failure)
    write_row(run, facts, hypotheses(options, run) if scores else {})
    write_atomically(run / "row.md", table(options.corpus, options.tests, [facts]) + "\n")
    return facts


def row_fingerprint(options: argparse.Namespace, trained: Mapping[str, Any]) -> str:
    """Return the training's fingerprint; another one if this is not the evaluation that belongs to it."""
    given = str(trained.get("fingerprint", ""))
    own = [*options.further, *(["recipe"] if options.config not in (None, str(options.corpus.recipe)) else [])]
    if options.tests != list(options.corpus.tests):
        own += options.tests
    own = [word for word in own if word != "--cpu"]
    return fingerprint(given, *own) if own else given


def read_history(run: Path) -> History:
    """Return the curves in a run's logs: one, or one of each machine, which say the same."""
    history = History()
    for log in sorted(run.glob("train*.log"))[:1]:
        with open(log, encoding="utf-8", errors="replace") as lines:
            history.read(lines)
    return history


def hypotheses(options: argparse.Namespace, run: Path) -> dict[str, list[str]]:
    """Return what the model wrote for each test set; nothing for tasks whose models write nothing."""
    written = {
        test: options.of_task.read_hypotheses(run / "evaluation" / f"{test}.log", references(options.of_task, prepared))
        for test, prepared in test_sets(options).items()
    }
    return {test: lines for test, lines in written.items() if lines is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate each run, print the table, and compare the runs if there are several."""
    options = parse(arguments)
    if options.dry_run:
        if not options.data.is_dir():
            print(f"# {options.data} is not there yet: it will say what fairseq calls each test set (--gen-subset)")
        for run in options.run:
            print("\n".join(shown(command.arguments) for command in chain(options, run).commands))
        return 0
    options.of_task.check_extra()
    if not options.data.is_dir():
        raise UserError(f"--data: there is no {options.data}; run scripts/prepare_{options.task}.sh first")
    for run in options.run:
        if not (run / FAILED).exists() and not any(run.glob("checkpoints/*.pt")):
            raise UserError(f"--run {run}: no checkpoints there; train first (scripts/train_{options.task}.sh)")
        if (trained := recorded(run, TRAINING).get("task", options.task)) != options.task:
            raise UserError(f"--run {run} was trained on {trained}: use scripts/evaluate_{trained}.sh")
    rows = [evaluate(options, run) for run in options.run]
    print(table(options.corpus, options.tests, rows))
    trained = [run for run, facts in zip(options.run, rows, strict=True) if not facts["failure"]]
    if len(trained) > 1 and (compared := compare(options, trained)):
        write_record(trained[0] / "paired_bootstrap.json", compared)
        signature = next(iter(compared.values()))[0]["signature"]
        print(f"\npaired test, p against {name_of(options, trained[0])} ({signature}):")
        for test, results in compared.items():
            line = ", ".join(f"{result['run']} p = {result['p']:.3f}" for result in results if result["p"] is not None)
            print(f"{test}: {line}")
    return 0


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
