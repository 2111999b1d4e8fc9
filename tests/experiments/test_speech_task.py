"""Speech recognition as a task of the quickstart: its corpora, commands, mistakes and baseline, and a small run."""

import json
import re

import numpy as np
import pytest
import soundfile

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.corpora import spoken_digits
from b2t_fairseq.corpora.embedded import dtmf
from b2t_fairseq.evaluation.wer import word_error_rate
from b2t_fairseq.experiments.quickstart import Plan, main, parse
from b2t_fairseq.experiments.tasks.speech_recognition import best_constant


@pytest.fixture
def library(tmp_path):
    """LibriSpeech's layout with several splits for each purpose."""
    sizes = {"train-a": 24, "train-b": 10, "dev-clean": 4, "dev-other": 3, "test-clean": 5, "test-other": 3}
    dtmf.generate(tmp_path / "raw", sizes, seed=4)
    return tmp_path / "raw"


@pytest.fixture
def singles(tmp_path):
    folder = tmp_path / "singles"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(size=2000) * 0.1
    for speaker in ("anna", "ben", "zoe"):
        for digit in range(10):
            for index in range(11):
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", noise, 8000)
    return folder


def plan_for(data, *arguments) -> Plan:
    return Plan(parse(["--task", "asr", "--data", str(data), "--output", str(data.parent / "run"), *arguments]))


def test_the_plan_names_all_splits_and_writes_nothing(library):
    plan = plan_for(library, "--connections", "post,b2t", "--layers", "2-1", "--updates", "12")
    text = "\n".join(plan.lines())
    assert "--arch s2t_transformer_post_6_6_tiny --encoder-layers 2 --decoder-layers 1 " in text
    assert text.count("--train-subset train-a,train-b --valid-subset valid ") == 2
    assert re.findall(r"--gen-subset (\S+)", text) == ["test-clean", "test-other"] * 2
    assert "preprocess" not in text and "--ctc-weight" in text and not (library.parent / "run").exists()
    assert "s2t_transformer_b2t_12_6_tiny " in "\n".join(plan_for(library, "--layers", "12-6").lines())


def test_a_corpus_made_in_another_way_is_another_corpus(singles, library, monkeypatch):
    before = [plan_for(data).data for data in (singles, library)]
    monkeypatch.setattr(spoken_digits, "MAKING", "without noise")
    after = [plan_for(data).data for data in (singles, library)]
    assert before[0] != after[0] and before[1] == after[1]


def test_spoken_digits_are_recognised_and_hold_a_speaker_out(singles):
    assert plan_for(singles).task.tests == ["test-known", "test-zoe"]
    plan = plan_for(singles, "--held-out", "anna")
    assert plan.task.tests == ["test-known", "test-anna"] and "anna held out" in plan.task.corpus_line()
    assert plan.data != plan_for(singles).data
    counts = plan.task.prepare(plan.data)
    assert set(counts) == {f"{name} utterances" for name in plan.task.splits} | {"left out"}
    assert plan.task.prepare(plan.data) == counts


def test_recordings_that_cannot_be_used_are_named_and_stay_so(singles, capsys):
    bad = [f"{digit}_anna_0.wav" for digit in range(7)]
    for name in bad[1:]:
        (singles / name).write_bytes(b"")
    (singles / bad[0]).write_bytes((singles / bad[0]).read_bytes()[:900])
    plan = plan_for(singles)
    counts = plan.task.prepare(plan.data)
    assert counts["left out"] == 7
    told = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("recordings: 7 left out: "))
    assert all(name in told for name in bad[:5]) and bad[5] not in told
    assert told.endswith("; all in recordings.skipped.tsv")
    lines = (plan.data / "recordings.skipped.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["name", *bad]
    assert "cut off" in lines[1] and "the file is empty" in lines[2]
    assert plan.task.prepare(plan.data) == counts
    assert (plan.data / "recordings.skipped.tsv").read_text().splitlines() == lines


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--held-out", "carl"], "no speaker carl; it has anna, ben, zoe"),
        (["--layers", "6"], "--layers 6"),
        (["--vocab-size", "2"], "--vocab-size"),
    ],
)
def test_mistakes_are_one_sentence(singles, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_for(singles, *arguments)


def test_corpora_that_cannot_be_used_are_one_sentence(library, tmp_path):
    with pytest.raises(UserError, match="--held-out names a speaker"):
        plan_for(library, "--held-out", "anna")
    with pytest.raises(UserError, match="no such folder"):
        plan_for(tmp_path / "nowhere")
    for path in library.glob("dev-*/*/*/*.trans.txt"):
        path.unlink()
    with pytest.raises(UserError, match="no dev or valid split"):
        plan_for(library)


def test_the_baseline_is_the_best_constant():
    train = ["one two", "one", "one two three", "one two"]
    valid = ["one one one", "one four one five"]
    answer = best_constant(train, valid)
    assert answer == "one one one"
    others = ["one two", "one", "one one", "one one one one"]
    assert all(
        word_error_rate([answer] * 2, valid).score <= word_error_rate([other] * 2, valid).score for other in others
    )


@pytest.mark.slow
def test_from_audio_to_the_table(library, capsys):
    output = library.parent / "run"
    small = ["--connections", "b2t", "--layers", "1-1", "--updates", "4", "--output", str(output)]
    assert main(["--task", "asr", "--data", str(library), *small]) == 0
    printed = capsys.readouterr().out
    results = json.loads((output / "results.json").read_text())
    row = next(row for row in results["rows"] if row["name"] == "b2t")
    for test, utterances in (("test-clean", 5), ("test-other", 3)):
        for metric in ("WER", "CER"):
            assert row["scores"][test][metric]["counts"]["utterances"] == utterances
    assert re.search(r"\| best constant answer +\|", printed) and "WER" in printed and "substitutions" in printed
    assert results["curves"]["b2t"]["valid"] and (output / "curves.png").exists()
    folder = next(output.glob("b2t-1-1-*"))
    audio = next(library.glob("test-clean/*/*/*.flac"))
    data = next(output.glob("data-*"))
    arguments = ["transcribe", "--path", str(folder / "averaged.pt"), "--data", str(data), "--beam", "1", str(audio)]
    assert cli.main(arguments) == 0 and capsys.readouterr().out.startswith(f"{audio}\t")
