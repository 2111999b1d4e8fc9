"""`b2t_fairseq.load`: finds all parts of a run by itself, says what is missing, and leaves the process as it is."""

import math
import shutil
import subprocess
import sys

import pytest
from end_to_end import NARROW, TRAINING, environment, forgetting_methods, inside, ordered_hypotheses

from b2t_fairseq import UserError, load
from b2t_fairseq.corpora.speech.features import AudioError
from b2t_fairseq.evaluation.perplexity import read_eval_lm
from b2t_fairseq.evaluation.text import read_lines

UNCHANGED = """
import ctypes, logging, signal, sys, warnings
import fairseq.models, fairseq.tasks, torch
hook, handlers, level = sys.excepthook, logging.root.handlers[:], logging.root.level
signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
class Library:
    def __init__(self, *_): pass
    def mallopt(self, *_): raise SystemExit("mallopt was called")
real, ctypes.CDLL = ctypes.CDLL, Library
import b2t_fairseq
ctypes.CDLL = real
assert not [f for f in warnings.filters if f[1] is not None and "hydra" in f[1].pattern]
assert sys.excepthook is hook and logging.root.handlers == handlers and logging.root.level == level
assert signals == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
"""


def python(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=200, **options
    )


def test_a_plain_import_leaves_the_process_as_it_is():
    done = python(UNCHANGED)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", ["", "import b2t_fairseq\n"])
def test_a_user_dir_still_asks_for_the_error_lines(before):
    """fairseq's own command line, in a process that may have imported the package before."""
    code = f"""{before}
import sys
from argparse import Namespace
from pathlib import Path
from fairseq import utils
utils.import_user_module(Namespace(user_dir=sys.argv[1]))
import b2t_fairseq
assert not set(b2t_fairseq.patches.NOT_APPLIED) & {{"b2t_fairseq.patches.additions.error_lines"}}
raise b2t_fairseq.UserError("--lr: too high")
"""
    import b2t_fairseq

    command = [sys.executable, "-c", code, b2t_fairseq.__path__[0]]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.stderr.splitlines()[-1] == "error: --lr: too high" and "Traceback" not in done.stderr


def test_translate_is_what_generate_writes(translation, here):
    model = load(translation.run)
    options = ["--beam", "3", "--max-len-b", "12", "--post-process", "sentencepiece", "--gen-subset", "test"]
    printed = here("generate", translation.data, "--path", translation.run / "averaged.pt", "--cpu", *options)
    lines = read_lines(translation.folder / "test.en")
    assert model.translate(lines, beam=3, max_len_b=12) == ordered_hypotheses(printed)
    assert model.signature.startswith("connection:b2t|init:default|layers:2-2|") and model.translate([]) == []


def test_summarize(summarization):
    written = load(summarization.run.parent / "b2t-2-2").summarize(["the man sees the dog ."] * 2, max_len_b=8)
    assert len(written) == 2 and written[0] == written[1]


def test_score_is_what_generate_scores_the_reference_with(translation, here):
    sources, targets = (read_lines(translation.folder / f"test.{side}") for side in ("en", "de"))
    model = load(translation.run)
    scores = model.score(sources, targets)
    options = ["--score-reference", "--gen-subset", "test", "--cpu"]
    printed = here("generate", translation.data, "--path", translation.run / "averaged.pt", *options)
    positional = {int(line[2:].split("\t")[0]): line for line in printed.splitlines() if line.startswith("P-")}
    for number, score in enumerate(scores):
        parts = [float(part) for part in positional[number].split("\t")[1].split()]
        assert score == pytest.approx(sum(parts) * math.log(2), abs=1e-3 * len(parts))  # printed to base 2
    tokens = sum(len(positional[number].split("\t")[1].split()) for number in range(len(scores)))
    assert model.perplexity(sources, targets) == pytest.approx(math.exp(-sum(scores) / tokens), rel=1e-5)


def test_perplexity_is_that_of_eval_lm(language_model, here):
    model, lines = load(language_model.run), read_lines(language_model.folder / "test.txt")
    evaluate = ["eval-lm", language_model.data, "--path", language_model.run / "averaged.pt", "--gen-subset", "test"]
    for window in (24, 7):
        printed = here(*evaluate, "--cpu", "--tokens-per-sample", window)
        assert model.perplexity(lines, window=window) == pytest.approx(
            2 ** read_eval_lm(printed.splitlines()).bits, rel=1e-4
        )
    assert model.perplexity(lines) == model.perplexity(lines, window=24)
    alone = model.score(lines[:2])
    assert model.perplexity(lines[:1]) == pytest.approx(math.exp(-alone[0] / (len(lines[0].split()) + 1)), rel=1e-5)


def test_transcribe(speech, here):
    files = sorted(speech.raw.glob("test/*/*/*.flac"))
    printed = here("transcribe", "--path", speech.run / "averaged.pt", "--data", speech.data, *files)
    expected = [line.partition("\t")[2] for line in printed.splitlines() if "\t" in line]
    model = load(speech.run)
    assert model.transcribe(files) == expected and len(expected) == 4
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        model.transcribe([files[0], "nothing.wav"])


@pytest.mark.parametrize(
    ("task", "call", "said"),
    [
        ("translation", lambda m: m.transcribe(["a.wav"]), "not a speech recogniser"),
        ("translation", lambda m: m.translate("one line"), "give a list"),
        ("translation", lambda m: m.score(["a"]), "need as many targets"),
        ("translation", lambda m: m.score(["a", "b"], ["c"]), "need as many targets"),
        ("translation", lambda m: m.score(["a " * 2000], ["b"]), "too long for the model"),
        ("translation", lambda m: m.translate(["a " * 2000]), "too long for the model"),
        ("translation", lambda m: m.perplexity([], []), "no perplexity of no text"),
        ("language_model", lambda m: m.translate(["a"]), "its task is language_modeling"),
        ("language_model", lambda m: m.score(["a"], ["b"]), "leave the targets out"),
        ("language_model", lambda m: m.score(["a " * 30]), "too long for the model"),
        ("language_model", lambda m: m.perplexity(["a"], window=25), "from 1 to 24 tokens"),
        ("speech", lambda m: m.translate(["a"]), "its task is speech_to_text"),
        ("speech", lambda m: m.score(["a"], ["b"]), r"use \.transcribe"),
    ],
)
def test_what_a_model_cannot_do_is_one_line(task, call, said, request):
    with pytest.raises(UserError, match=said):
        call(load(request.getfixturevalue(task).run))


# --- where the parts are


def test_the_data_are_found_by_the_vocabulary(translation, tmp_path):
    """Beside another prepared folder with the same names, and by other layouts."""
    root = shutil.copytree(translation.run.parent, tmp_path / "root")
    other = shutil.copytree(root / "data-1", root / "data-0")  # sorted before it
    for side in ("en", "de"):
        lines = read_lines(other / "bin" / f"dict.{side}.txt")
        (other / "bin" / f"dict.{side}.txt").write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    assert load(root / "b2t-2-2-abc").places.data == root / "data-1" / "bin"
    (root / "b2t-2-2-abc" / "checkpoints").mkdir()
    (root / "b2t-2-2-abc" / "averaged.pt").rename(root / "b2t-2-2-abc" / "checkpoints" / "checkpoint_best.pt")
    assert load(root / "b2t-2-2-abc").places.checkpoint.name == "checkpoint_best.pt"
    assert load(root / "b2t-2-2-abc" / "checkpoints").places.data == root / "data-1" / "bin"


def test_what_is_missing_is_named(translation, language_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(translation.run, tmp_path / "far" / "away" / "run")
    with pytest.raises(UserError, match=r"no folder near by has its dictionaries \(dict.en.txt and dict.de.txt; \d+ p"):
        load(run)
    data = shutil.copytree(translation.data, tmp_path / "only" / "bin")
    with pytest.raises(UserError, match="SentencePiece's model .* is not beside it"):
        load(run, data=data)
    pieces = translation.folder / "subwords.model"
    assert load(run, data=data.parent, subwords=pieces).places.kind == "sentencepiece"
    with pytest.raises(UserError, match=r"no dict\.en\.txt or dict\.de\.txt in it"):
        load(run, data=tmp_path)
    with pytest.raises(UserError, match="another vocabulary"):
        reordered = shutil.copytree(data, tmp_path / "reordered")
        for side in ("en", "de"):
            lines = read_lines(reordered / f"dict.{side}.txt")
            (reordered / f"dict.{side}.txt").write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
        load(run, data=reordered, subwords=pieces)
    for checkpoint in run.glob("*.pt"):
        checkpoint.unlink()
    with pytest.raises(UserError, match="no checkpoint in it"):
        load(run)
    with pytest.raises(UserError, match="no such file or folder"):
        load(tmp_path / "nowhere")


def test_several_models_are_listed(translation, tmp_path):
    root = shutil.copytree(translation.run.parent, tmp_path / "root")
    assert load(root).places.checkpoint == root / "b2t-2-2-abc" / "averaged.pt"
    shutil.copytree(root / "b2t-2-2-abc", root / "b2t-2-2-def")
    for name in ("", "b2t-2-2"):
        with pytest.raises(UserError, match="2 models: name one of .*b2t-2-2-abc, .*b2t-2-2-def"):
            load(root / name)


def test_a_module_of_the_users_own_is_named_by_the_caller(translation, tmp_path):
    """The checkpoint's own word for it is not taken."""
    module = tmp_path / "mine_for_load.py"
    module.write_text(
        "from b2t_fairseq.connections import register_connection\n"
        "from b2t_fairseq.connections.b2t import BottomToTop\n"
        "@register_connection('mine_for_load')\n"
        "class Mine(BottomToTop):\n    pass\n"
    )
    options = ["--connection", "mine_for_load", "--connection-module", module, "--max-update", "1"]
    options += ["--criterion", "label_smoothed_cross_entropy", "-s", "en", "-t", "de", "--save-dir", tmp_path / "run"]
    with forgetting_methods():
        inside("train", translation.data, *NARROW, *TRAINING, *options)
    code = "import sys, b2t_fairseq as b\nprint(b.load(sys.argv[1], data=sys.argv[2], **eval(sys.argv[3])).signature)"
    arguments = [sys.executable, "-c", code, str(tmp_path / "run"), str(translation.folder)]
    without, given = (
        subprocess.run([*arguments, repr(more)], env=environment(), capture_output=True, text=True, timeout=200)
        for more in ({}, {"connection_module": str(module)})
    )
    assert "add --connection-module" in without.stderr and without.returncode == 1
    assert given.stdout.startswith("connection:mine_for_load|"), given.stderr
