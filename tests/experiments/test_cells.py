"""Cells: what their fingerprint holds, and when a training has learned nothing."""

import math
import shutil
from pathlib import Path

import pytest

from b2t_fairseq.experiments.cells import Cell, cores, nothing_learned, threads_of_each
from b2t_fairseq.experiments.jobs.progress import History
from b2t_fairseq.experiments.laptop import Corpus, Wanted
from b2t_fairseq.experiments.quickstart import Plan, parse
from b2t_fairseq.experiments.recipes import configs_folder

RECIPES = configs_folder() / "laptop"


def cell(data: Path, output: Path, recipe: str = "multi30k", **changes) -> Cell:
    corpus = Corpus("mt", RECIPES / f"{recipe}.yaml", output, str(data), ["--vocab-size", "150"])
    wanted = {"task": "mt", "connection": "b2t", "layers": "2-1", "seed": 1, "updates": 12}
    return corpus.cell(Wanted(**(wanted | changes)))


def test_a_fingerprint_knows_no_place(pairs, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(pairs, copy)
    assert cell(pairs, tmp_path / "a").fingerprint == cell(copy, tmp_path / "b").fingerprint


def test_whatever_changes_the_numbers_changes_the_fingerprint(pairs, tmp_path):
    copy = tmp_path / "more"
    shutil.copytree(pairs, copy)
    for name in ("train.en", "train.de"):
        with open(copy / name, "a") as file:
            file.write("x\n")
    changes = ({"connection": "pre"}, {"layers": "2-2"}, {"seed": 2}, {"updates": 13}, {"changes": (("lr", 0.1),)})
    cells = [cell(pairs, tmp_path, **change) for change in ({}, *changes)]
    cells += [cell(pairs, tmp_path, "quickstart"), cell(copy, tmp_path)]
    assert len({each.fingerprint for each in cells}) == len(cells)
    assert len({each.folder for each in cells}) == len(cells)


def test_the_quickstart_makes_the_same_cell(pairs, tmp_path):
    words = [
        "--data",
        str(pairs),
        "--output",
        str(tmp_path / "quickstart"),
        "--vocab-size",
        "150",
        "--layers",
        "2-1",
    ]
    plan = Plan(parse([*words, "--connections", "b2t", "--updates", "12"]))
    same = cell(pairs, tmp_path, "quickstart")
    assert plan.cells[0].fingerprint == same.fingerprint
    assert plan.cells[0].folder == same.folder and plan.cells[0].facts() == same.facts()
    train, other = plan.cells[0].chain.commands[0], same.chain.commands[0]
    assert (train.arguments, train.fingerprint) == (other.arguments, other.fingerprint)


def test_tfixup_has_its_authors_schedule(pairs, tmp_path):
    arguments = cell(pairs, tmp_path, connection="tfixup").chain.commands[0].arguments
    assert arguments[arguments.index("--lr-scheduler") + 1] == "inverse_sqrt_nowarmup"
    assert "--warmup-updates" not in arguments and "--decay-period" in arguments
    assert "--decay-period" not in cell(pairs, tmp_path).chain.commands[0].arguments


@pytest.mark.parametrize(
    "losses, fails",
    [([9, 8, 7.0], False), ([9, 8, 7.4, 7.9], False), ([9, 8, 7.6], True), ([7.0, *[7.8] * 10], True)],
)
def test_a_training_at_the_unigram_level_has_failed(losses, fails):
    history = History(train=dict(enumerate(map(float, losses), 1)), updates=len(losses))
    sentence = nothing_learned(history, 8.0)
    assert (sentence is not None) == fails
    if fails:
        assert sentence.startswith(f"training failed: after {len(losses)} updates the lowest of the last ")
        assert f" losses is {min(losses[-10:]):.2f} bits" in sentence and "(8.00)" in sentence


def test_a_loss_that_is_no_number_has_failed():
    assert nothing_learned(History(train={1: math.nan}, updates=1), 8.0) is not None
    assert "after 4 updates the loss is 9.00 bits" in nothing_learned(History(valid={4: 9.0}), 8.0)
    assert nothing_learned(History(), 8.0) is None


@pytest.mark.parametrize(
    ("given", "jobs", "threads"), [("3", 1, 3), ("", 1, cores()), ("0", 1, cores()), ("2,1", 1, cores()), ("", 999, 1)]
)
def test_omp_num_threads_wins_over_the_share_of_the_cores(monkeypatch, given, jobs, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_of_each(jobs) == threads
