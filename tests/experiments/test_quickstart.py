"""The quickstart: its plan, its mistakes, and a small run from text to the table."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from b2t_fairseq import cli
from b2t_fairseq.commands import table
from b2t_fairseq.common import optional
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.common.files import locked
from b2t_fairseq.corpora.embedded import english_german
from b2t_fairseq.experiments import text_data
from b2t_fairseq.experiments.cells import what_there_is
from b2t_fairseq.experiments.quickstart import Plan, main, parse
from b2t_fairseq.experiments.recipes import configs_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[tuple[str, str]]]:
    return english_german.generate({"train": 120, "valid": 9, "test": 7})


@pytest.fixture
def data(tmp_path, pairs) -> Path:
    """A folder of parallel text with two test sets, one file of it packed."""
    folder = tmp_path / "data"
    folder.mkdir()
    named = {"train": pairs["train"], "val": pairs["valid"], "test_a": pairs["test"], "test_b": pairs["test"][:3]}
    for name, sentences in named.items():
        for side, language in enumerate(("en", "de")):
            (folder / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in sentences))
    packed = folder / "train.en"
    (folder / "train.en.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    return folder


def plan_for(data: Path, *arguments: str) -> Plan:
    options = parse(["--data", str(data), "--output", str(data.parent / "run"), "--vocab-size", "150", *arguments])
    return Plan(options)


def test_the_plan_holds_every_command(data):
    plan = plan_for(data, "--connections", "post,b2t", "--layers", "2-1", "--updates", "12")
    lines = plan.lines()
    kinds = [line.split()[1] for line in lines[1:]]
    each = ["train", "average-checkpoints", "generate", "generate"]
    assert kinds == ["preprocess", *each, *each]
    train = lines[2]
    assert "--arch transformer_post_18_18_tiny --encoder-layers 2 --decoder-layers 1 " in train
    assert "--max-update 12 " in train and "--save-interval-updates 4 " in train and "'(0.9, 0.98)'" in train
    assert re.sub(r"post(?=[-_])", "b2t", train).split("checkpoints", 1)[1] == lines[6].split("checkpoints", 1)[1]
    assert "--gen-subset test1 " in lines[5] and "--required-batch-size-multiple 1" in lines[5]
    assert not (data.parent / "run").exists()


def test_the_plan_of_a_language_model(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"wiki.{split}.tokens").write_text("a word , and one more .\n")
    options = parse(["--task", "lm", "--data", str(tmp_path), "--connections", "pre", "--layers", "6"])
    lines = Plan(options).lines()
    assert options.output == "runs/lm" and "layout:tokens|tokenise:none|threshold:3" in lines[0]
    assert " preprocess --only-source " in lines[1] and " --thresholdsrc 3 " in lines[1]
    assert "--arch transformer_lm_pre_6_tiny " in lines[2] and "--ddp-backend legacy_ddp" in lines[2]
    assert [line.split()[1] for line in lines[4:]] == ["eval-lm", "eval-lm"]
    assert "--gen-subset valid " in lines[4] and "--gen-subset test " in lines[5] and "--context-window 32" in lines[5]


def test_changed_options_move_only_what_depends_on_them(data):
    def folders(plan):
        return [plan.data, *(chain.commands[0].folder for chain in plan.chains)]

    first = folders(plan_for(data))
    assert folders(plan_for(data)) == first
    longer = folders(plan_for(data, "--updates", "2400"))
    assert longer[0] == first[0] and not set(longer[1:]) & set(first[1:])
    assert folders(plan_for(data, "--connections", "b2t")) == [first[0], first[3]]
    with open(data / "test_b.en", "a") as source, open(data / "test_b.de", "a") as target:
        source.write("One more .\n")
        target.write("Noch einer .\n")
    assert not set(folders(plan_for(data))) & set(first)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--layers", "18"], "--layers 18"),
        (["--layers", "0-6"], "--layers 0-6"),
        (["--updates", "0"], "--updates 0"),
        (["--updates", "many"], "--updates"),
        (["--connections", "b2t,bt2"], "'bt2'"),
        (["--connections", ","], "--connections"),
        (["--connections", "b2t,b2t"], "--connections"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--source", "fr"], "--data"),
        (["--source", "de"], "both de"),
        (["--config", "no.yaml"], "no.yaml"),
        (["--colour"], "--colour"),
        (["--task", "translation"], "--task"),
        (["--task", "lm", "--layers", "6-6"], "as in 16"),
        (["--task", "lm", "--vocab-size", "100"], "--vocab-size"),
        (["--task", "lm", "--data", "no/such/folder"], "no/such/folder does not exist"),
        (
            ["--task", "lm", "--config", str(configs_folder() / "laptop" / "quickstart.yaml")],
            "must hold the blocks words, train",
        ),
        (["--task", "summarization", "--data", "no/such/folder"], "no/such/folder"),
        (["--task", "summarization", "--source", "en"], "--source"),
        (["--conn", "b2t"], "--conn"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, capsys):
    assert cli.main(["quickstart", *arguments, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error and error.count("\n") == 1


@pytest.mark.parametrize("harm", ["empty line", "fewer lines", "latin-1", "missing side"])
def test_bad_text_is_one_sentence_and_leaves_nothing(harm, data, capsys):
    file = data / "val.de"
    lines = file.read_text().splitlines()
    if harm == "missing side":
        file.unlink()
    elif harm == "latin-1":
        file.write_bytes("Die Tür\n".encode("latin-1"))
    else:
        file.write_text("\n".join([*lines[:2], "", *lines[3:]] if harm == "empty line" else lines[1:]) + "\n")
    output = data.parent / "run"
    assert cli.main(["quickstart", "--data", str(data), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "val.de" in error and error.count("\n") == 1 and not output.exists()


@pytest.mark.parametrize(
    "task, extra, purpose",
    [
        ("mt", "plots", "the quickstart's curves"),
        ("summarization", "summarization", "the scores of summarization"),
        ("asr", "speech", "the scores of asr"),
    ],
)
def test_a_missing_extra_is_found_before_the_training(task, extra, purpose, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(optional.EXTRAS, extra, ("no_such_package",))
    assert cli.main(["quickstart", "--task", task, "--output", str(tmp_path / "run")]) == 2
    line = f'error: {purpose} need no_such_package, which is not installed: pip install "b2t_fairseq[{extra}]" '
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_written_or_is_in_use(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "file" / "run", "quickstart"):
        pass
    with (
        locked(tmp_path / "run", "quickstart"),
        pytest.raises(UserError, match="another quickstart"),
        locked(tmp_path / "run", "quickstart"),
    ):
        pass
    with locked(tmp_path / "run", "quickstart"):
        pass


def test_averaging_takes_what_there_is(tmp_path):
    arguments = [
        "python",
        "-m",
        "average",
        "--inputs",
        str(tmp_path),
        "--output",
        "a.pt",
        "--num-update-checkpoints",
        "2",
    ]
    (tmp_path / "checkpoint_1_4.pt").touch()
    names = [str(tmp_path / name) for name in ("checkpoint_1_4.pt", "checkpoint_last.pt")]
    assert what_there_is(tmp_path, 2, 6, arguments) == [*arguments[:3], "--inputs", *names, "--output", "a.pt"]
    (tmp_path / "checkpoint_1_8.pt").touch()
    assert what_there_is(tmp_path, 2, 8, arguments) == arguments


def test_the_last_update_is_averaged_once(tmp_path):
    """The end of an epoch takes the place of one in the middle; the last one is `checkpoint_last.pt`, too."""
    names = [str(tmp_path / name) for name in ("checkpoint_1_8.pt", "checkpoint_3_32.pt", "checkpoint_4_40.pt")]
    for name in names:
        Path(name).touch()
    arguments = ["python", "-m", "average", "--inputs", str(tmp_path), "--output", "a.pt"]
    assert what_there_is(tmp_path, 5, 40, arguments)[4:-2] == names


def test_preparation_is_deterministic_and_repeats_nothing(tmp_path, pairs):
    corpus = text_data.ParallelText("en", "de", pairs)
    options = {"vocab_size": 150, "model_type": "bpe", "character_coverage": 1.0}
    counts = [text_data.prepare(corpus, options, tmp_path / name) for name in "ab"]
    assert counts[0] == counts[1] == {"train pairs": 120, "valid pairs": 9, "test pairs": 7, "left out": 0, "cut": 0}
    for file in (tmp_path / "a").glob("*.pieces.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    first = (tmp_path / "a" / "test.pieces.de").read_text().splitlines()[0]
    assert first.replace(" ", "").replace("▁", " ").strip() == pairs["test"][0][1]
    written = (tmp_path / "a" / "counts.json").stat().st_mtime_ns
    text_data.prepare(corpus, options, tmp_path / "a")
    assert (tmp_path / "a" / "counts.json").stat().st_mtime_ns == written


def test_more_subwords_than_a_corpus_has_are_refused(tmp_path):
    corpus = text_data.ParallelText("en", "de", {"train": [("a b", "c d")] * 3})
    with pytest.raises(UserError, match=r"8000 subwords for these 3 training pairs: set another --vocab-size \("):
        text_data.prepare(corpus, {"vocab_size": 8000, "model_type": "bpe"}, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_long_training_pairs_are_left_out_and_long_test_sentences_cut(tmp_path, pairs):
    long = ("word " * 400, "Wort " * 1200)
    corpus = text_data.ParallelText(
        "en", "de", {**pairs, "train": [*pairs["train"], long], "test": [long, *pairs["test"]]}
    )
    counts = text_data.prepare(corpus, {"vocab_size": 150, "model_type": "bpe"}, tmp_path / "data")
    assert counts["left out"] == 1 and counts["cut"] == 1
    assert len((tmp_path / "data" / "train.pieces.en").read_text().splitlines()) == 120
    test = (tmp_path / "data" / "test.pieces.de").read_text().splitlines()
    assert len(test) == 8 and len(test[0].split()) == text_data.LONGEST_SENTENCE


def test_subwords_that_cannot_be_trained_are_one_sentence(tmp_path, pairs):
    with pytest.raises(UserError, match="SentencePiece"):
        text_data.prepare(
            text_data.ParallelText("en", "de", pairs), {"vocab_size": 12, "model_type": "bpe"}, tmp_path / "data"
        )
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_from_text_to_the_table_with_a_kill_on_the_way(data):
    """A start that is killed in training, a second that finishes, a third that finds everything done."""
    output = data.parent / "run"
    small = ["--connections", "b2t", "--layers", "1-1", "--updates", "60", "--vocab-size", "150"]
    command = [sys.executable, "-m", "b2t_fairseq.experiments.quickstart", "--data", str(data), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([*command, *small], cwd=data, env=environment, text=True, **pipes)

    first, patience = start(), time.monotonic() + 120
    while not list(output.glob("b2t-*/checkpoints/checkpoint_last.pt")) and time.monotonic() < patience:
        time.sleep(0.05)
    first.kill()
    first.communicate()
    killed_at = json.loads(re.findall(r"\{.*\}", last_log(output))[-1])
    second = start()
    said = second.communicate(timeout=240)[0]
    assert second.returncode == 0, said
    assert "preprocess: done before" in said and "| b2t " in said and "word-by-word lexicon" in said
    assert "Loaded checkpoint" in last_log(output) or "num_updates" not in killed_at
    results = json.loads((output / "results.json").read_text())
    row = results["rows"][0]
    assert row["name"] == "b2t" and row["signature"].startswith("connection:b2t|") and "layers:1-1" in row["signature"]
    assert {name: score["BLEU"]["counts"]["sentences"] for name, score in row["scores"].items()} == {
        "test_a": 7,
        "test_b": 3,
    }
    assert (output / "curves.png").stat().st_size > 5000 and "| BLEU test_b |" in (output / "table.md").read_text()
    third = start()
    said = third.communicate(timeout=120)[0]
    assert third.returncode == 0 and "\n$ " not in said and said.count("done before") == 5


def last_log(output: Path) -> str:
    return next(output.glob("b2t-*/train.log")).read_text()


def test_main_is_reachable_as_a_command():
    assert table.OUR_COMMANDS["quickstart"][0] == ".experiments.quickstart" and callable(main)
