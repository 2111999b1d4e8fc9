"""From trained runs to rows of the paper's table: average, decode each test set, score, compare.

    python -m b2t_fairseq.cli paper-evaluate wmt_ende --run runs/paper/wmt_ende/b2t-18-18-paper-1 [--run ...]

Writes averaged.pt, evaluation/TEST.log and row.json, row.md into each run's folder; what is done from the same
checkpoints with the same options is kept. A training that failed gets its row, too.
"""

import argparse
import functools
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checkpoints.loading import load_checkpoint
from ..checkpoints.signature import parse_signature, signature_of
from ..common.command_line import Parser, ours, shown
from ..common.errors import UserError
from ..common.files import write_atomically
from ..evaluation.bleu import corpus_bleu
from ..evaluation.generated import check_order, read_generate_output
from ..evaluation.perplexity import corpus_perplexity, read_eval_lm
from ..evaluation.rouge import METRICS as ROUGES
from ..evaluation.rouge import corpus_rouge
from ..evaluation.score import Score
from ..evaluation.wer import error_rates, read_recognised, read_references
from .jobs.progress import Display, sentence_counter
from .jobs.runner import Chain, Command, fingerprint, run_chains
from .jobs.supervision import FAILED, TRAINING, recorded
from .paper_recipe import CONFIGS, TASKS, PaperTask, given_number, merged, read
from .recipes import flags

Scores = Mapping[str, Mapping[str, Score]]  # test -> metric -> score
SAMPLES = 1000


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; mistakes are one sentence."""
    parser = Parser(prog="paper-evaluate", description=__doc__.split("\n")[0], epilog="options after -- go to fairseq")
    add = parser.add_argument
    add("task", choices=list(TASKS), help="corpus")
    add("--run", action="append", required=True, type=Path, metavar="DIR", help="a training's folder; may be repeated")
    add("--data", type=Path, metavar="DIR", help="what scripts/prepare_TASK.sh made (default: data/TASK)")
    add("--tests", metavar="A,B", help="test sets (default: the paper's)")
    add("--config", metavar="FILE", help="recipe (default: configs/paper/TASK.yaml)")
    add("--dry-run", action="store_true", help="print the commands, run none")
    options = parser.parse_and_keep_further(arguments)
    options.paper_task = task = TASKS[options.task]
    options.data = task.binarised(options.data or Path("data") / task.name)
    options.tests = options.tests.split(",") if options.tests else list(task.tests)
    if unknown := [test for test in options.tests if test not in task.tests]:
        parser.error(f"--tests {unknown[0]}: {task.name} has {', '.join(task.tests)}")
    options.recipe = read(options.config or CONFIGS / f"{task.name}.yaml", task)
    if len({run.resolve() for run in options.run}) < len(options.run):
        parser.error("--run: the same folder twice")
    return options


def chain(options: argparse.Namespace, run: Path) -> Chain:
    """Averaging, then decoding of each test set, for one run."""
    task, averaged, name = options.paper_task, run / "averaged.pt", name_of(options, run)
    arguments = [sys.executable, "-m", "b2t_fairseq.average_checkpoints", "--inputs", str(run / "checkpoints")]
    arguments += ["--output", str(averaged), *flags(options.recipe["average"])]
    stamps = [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in sorted(run.glob("checkpoints/*.pt"))]
    folder, made_from = run / "evaluation", fingerprint(*stamps)
    commands = [Command(f"average {name}", arguments, folder, "average", depends=made_from)]
    for test in options.tests:
        block = flags(merged(options.recipe, task.evaluates, test))
        where = [str(options.data), "--path", str(averaged), "--gen-subset", subset(task, options.data, test)]
        arguments = ours(task.evaluates, *where, *block, *options.further)
        command = Command(f"{name} {test}", arguments, folder, test, depends=commands[0].fingerprint)
        if task.evaluates == "eval-lm":
            command = replace(command, settle=functools.partial(with_fitting_window, run))
        elif options.data.is_dir():
            total = max(1, len(references(task, options.data, test)))
            command = replace(command, total=total, count=sentence_counter())
        commands.append(command)
    return Chain(name, commands)


def with_fitting_window(run: Path, arguments: Sequence[str]) -> Sequence[str]:
    """The arguments of eval-lm as they are; of longer windows than the model reads, fairseq would score a part only.

    Raises:
        UserError: the window is longer.
    """
    window = given_number(arguments, "tokens-per-sample")
    options = load_checkpoint(run / "averaged.pt")["cfg"]["model"]
    longest = options["max_target_positions"] or options["tokens_per_sample"]
    if window and longest and window > longest:
        raise UserError(
            f"--run {run}: the model reads {longest} tokens at a time, and the evaluation's window is {window}: add "
            f"-- --tokens-per-sample {longest} --context-window N, with N below {longest}"
        )
    return arguments


def subset(task: PaperTask, data: Path, test: str) -> str:
    """What fairseq calls a test set: newstest2012 is test2 where the test sets begin with 2010."""
    if task.name != "wmt_ende":
        return test
    prepared = [path.stem for path in sorted((data.parent / "tests-subwords").glob("newstest????.en"))]
    names = prepared or list(task.tests)
    if test not in names:
        raise UserError(
            f"{data.parent} was prepared without {test}: it has {', '.join(names)}; leave it out of --tests"
        )
    return f"test{names.index(test) or ''}"


def references(task: PaperTask, data: Path, test: str) -> list[str]:
    """The raw references of a test set (for a language model: the text)."""
    places = {
        "wmt_ende": data.parent / "tests" / f"{test}.de",
        "gigaword": data.parent / "text" / f"{test}.title",
        "wikitext103": data.parent / "text" / f"wiki.{test}.tokens",
        "librispeech": data / f"{test}.tsv",
    }
    path = places[task.name]
    if not path.is_file():
        raise UserError(f"{path}: no references there; name the folder that scripts/prepare_{task.name}.sh made")
    return read_references(path)


def hypotheses(output: Path, truth: Sequence[str]) -> list[str]:
    """What was decoded, in the order of the references."""
    check_order(output, truth)
    return read_generate_output(output)


#: task -> the scores of one decoded test set
METRICS: dict[str, Callable[[Path, list[str]], Mapping[str, Score]]] = {
    "wmt_ende": lambda output, truth: {"BLEU": corpus_bleu(hypotheses(output, truth), truth)},
    "gigaword": lambda output, truth: corpus_rouge(hypotheses(output, truth), truth, wordless_as_zero=True),
    "wikitext103": lambda output, truth: {"ppl": corpus_perplexity(read_eval_lm(output), truth)["ppl"]},
    "librispeech": lambda output, truth: {"WER": error_rates(read_recognised(output, truth), truth)["WER"]},
}
#: task -> their names, in the order of the table
NAMES = {"wmt_ende": ["BLEU"], "gigaword": list(ROUGES), "wikitext103": ["ppl"], "librispeech": ["WER"]}


def name_of(options: argparse.Namespace, run: Path) -> str:
    """A run's name: its folder's, or the whole path where two runs have folders of one name."""
    names = [other.resolve().name for other in options.run]
    return run.resolve().name if names.count(run.resolve().name) < 2 else str(run)


def averaged_facts(run: Path) -> dict[str, Any]:
    """What a run's averaged checkpoint is: the model's signature, the checkpoints in it, the updates of the newest."""
    state = load_checkpoint(run / "averaged.pt")
    told = (run / "evaluation" / "average.log").read_text(encoding="utf-8")
    made_of = re.search(r"average of \d+ \([^)]*\)", told)
    history = state.get("optimizer_history") or [{}]
    return {
        "signature": signature_of(state) or "connection:unknown",
        "checkpoint": made_of[0] if made_of else str(run / "averaged.pt"),
        "updates": history[-1].get("num_updates"),
    }


def row(options: argparse.Namespace, run: Path, scores: Scores | None, failure: str | None) -> dict[str, Any]:
    """A row of the paper's table: what was run and how it was evaluated, and its scores or why there are none."""
    task, trained = options.paper_task, recorded(run, TRAINING)
    made = {"task": task.name, "run": name_of(options, run)}
    kept = ("connection", "layers", "recipe", "seed", "tokens_per_update", "wanted_tokens_per_update")
    made |= {key: trained.get(key) for key in kept}
    made |= {"metrics": NAMES[task.name], "failure": failure, "signature": None, "checkpoint": None, "updates": None}
    made |= {"scores": {}, "mean": None, "evaluated_by": {}}
    if failure is not None:
        return made
    made |= averaged_facts(run)
    made |= {key: parse_signature(made["signature"]).get(key) for key in ("connection", "layers")}
    made["scores"] = {test: {name: score._asdict() for name, score in found.items()} for test, found in scores.items()}
    if task.name == "wmt_ende" and set(scores) == set(task.tests):
        made["mean"] = round(sum(found["BLEU"].score for found in scores.values()) / len(scores), 2)
    decoding = chain(options, run).commands[1:]
    made["evaluated_by"] = {command.name: shown(command.arguments) for command in decoding}
    return made


def table(task: PaperTask, tests: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown; under it the models' and the metrics' signatures."""
    names = NAMES[task.name]
    columns = [(test, name) for test in tests for name in names]
    mean = task.name == "wmt_ende"
    head = ["run", *(test if len(names) == 1 else name for test, name in columns), *(["mean"] if mean else [])]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for made in rows:
        if made["failure"]:
            lines.append([made["run"], "training failed", *[""] * (len(head) - 2)])
            continue
        cells = [f"{made['scores'][test][name]['score']:.2f}" for test, name in columns]
        average = "" if made["mean"] is None else f"{made['mean']:.2f}"
        lines.append([made["run"], *cells, *([average] if mean else [])])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = [f"{made['run']}: {made['failure'] or made['signature'] + '; ' + made['checkpoint']}" for made in rows]
    return "\n".join([text, "", *notes, "", *signature_lines(columns, rows)])


def signature_lines(columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each signature of a metric once, with the test sets (and the runs, unless it is all of them) it belongs to."""
    scored, found = [made for made in rows if not made["failure"]], {}
    for test, name in columns:
        for made in scored:
            found.setdefault((name, made["scores"][test][name]["signature"]), []).append((made["run"], test))
    lines = []
    for (name, text), places in found.items():
        runs, tests = (list(dict.fromkeys(side)) for side in zip(*places, strict=True))
        whose = "" if len(runs) == len(scored) else f"{', '.join(runs)}: "
        lines.append(f"- {whose}{', '.join(tests)} {name}: {text}")
    return lines


def paired_bootstrap(systems: Mapping[str, Sequence[str]], truth: Sequence[str]) -> list[dict[str, Any]]:
    """SacreBLEU's paired bootstrap of each system against the first, on one test set.

    Identical output has p = 1: SacreBLEU counts differences larger than the one found, and gives the smallest p.
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    named = [(name, list(lines)) for name, lines in systems.items()]
    test = PairedTest(named, {"BLEU": BLEU()}, [list(truth)], test_type="bs", n_samples=SAMPLES)
    signatures, results = test()
    compared = []
    for (name, lines), found in zip(named, results["BLEU"], strict=True):
        p = 1.0 if found.p_value is not None and lines == named[0][1] else found.p_value
        compared.append({"run": name, "BLEU": round(found.score, 2), "p": p, "signature": str(signatures["BLEU"])})
    return compared


def compare(options: argparse.Namespace, runs: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """`paired_bootstrap` on each test set."""
    compared = {}
    for test in options.tests:
        truth = references(options.paper_task, options.data, test)
        logs = {name_of(options, run): run / "evaluation" / f"{test}.log" for run in runs}
        decoded = {name: hypotheses(path, truth) for name, path in logs.items()}
        compared[test] = paired_bootstrap(decoded, truth)
    return compared


def evaluate(options: argparse.Namespace, run: Path) -> dict[str, Any]:
    """Runs what is not done for one run, and writes its row."""
    task, scores, failure = options.paper_task, None, recorded(run, FAILED).get("reason")
    if failure is None:
        steps = chain(options, run)
        run_chains([steps], 1, 1, Display())
        if steps.failure:
            raise UserError(steps.failure)
        outputs = {test: run / "evaluation" / f"{test}.log" for test in options.tests}
        scores = {
            test: METRICS[task.name](path, references(task, options.data, test)) for test, path in outputs.items()
        }
    made = row(options, run, scores, failure)
    write_atomically(run / "row.json", json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    write_atomically(run / "row.md", table(task, options.tests, [made]) + "\n")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates each run, prints the table, and compares the runs if there are several."""
    options = parse(arguments)
    if options.dry_run:
        for run in options.run:
            print("\n".join(shown(command.arguments) for command in chain(options, run).commands))
        return 0
    if not options.data.is_dir():
        raise UserError(f"--data: there is no {options.data}; run scripts/prepare_{options.task}.sh first")
    for run in options.run:
        if not (run / FAILED).exists() and not any(run.glob("checkpoints/*.pt")):
            raise UserError(f"--run {run}: no checkpoints there; train first (scripts/train_{options.task}.sh)")
        if (trained := recorded(run, TRAINING).get("task", options.task)) != options.task:
            raise UserError(f"--run {run} was trained on {trained}: use scripts/evaluate_{trained}.sh")
    rows = [evaluate(options, run) for run in options.run]
    print(table(options.paper_task, options.tests, rows))
    trained = [run for run, made in zip(options.run, rows, strict=True) if not made["failure"]]
    if options.task == "wmt_ende" and len(trained) > 1:
        compared = compare(options, trained)
        write_atomically(trained[0] / "paired_bootstrap.json", json.dumps(compared, indent=1) + "\n")
        print(f"\npaired bootstrap, {SAMPLES} samples, p against {name_of(options, trained[0])}:")
        for test, results in compared.items():
            told = ", ".join(f"{found['run']} p = {found['p']:.3f}" for found in results if found["p"] is not None)
            print(f"{test}: {told}")
    return 0


if __name__ == "__main__":
    from ..common.command_line import guarded

    sys.exit(guarded(main))
