"""From text to a score through the real command lines, in one process and in two."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from builders import ALL_CONNECTIONS
from end_to_end import (
    NARROW,
    ROOT,
    SIZES,
    TRAINING,
    command,
    environment,
    free_port,
    hypotheses,
    make_data,
    ours,
    shell,
    weights,
)
from fairseq.models.transformer import TransformerModel

from b2t_fairseq import UserError
from b2t_fairseq.checkpoints.loading import load_checkpoint

PLUGIN = ROOT / "b2t_fairseq"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A B2T model trained for two epochs by fairseq's own command, the plugin given by path."""
    saved = tmp_path_factory.mktemp("trained")
    train = [
        command("fairseq-train"),
        data,
        "--user-dir",
        PLUGIN,
        *NARROW,
        *TRAINING,
        "--save-dir",
        saved,
        "--max-epoch",
        "2",
    ]
    return saved, shell(*train, cwd=saved).stdout


def assert_same(first: dict, second: dict, tolerance: float = 0.0) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert (first[name] - second[name]).abs().max() <= tolerance, name


def test_log_and_checkpoint_carry_the_signature(trained):
    saved, log = trained
    signature = re.search(r"signature: (connection:b2t\|init:default\|layers:2-2\|plugin:\S+)", log)[1]
    for name in ("checkpoint1.pt", "checkpoint_last.pt", "checkpoint_best.pt"):
        assert load_checkpoint(str(saved / name))["cfg"]["model"].connection_signature == signature


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_connection_trains_resumes_averages_generates_and_validates(connection, data, tmp_path, here):
    train = ["train", data, *NARROW, *TRAINING, "--connection", connection, "--save-dir", tmp_path]
    train += ["--save-interval-updates", "1", "--no-epoch-checkpoints", "--disable-validation"]
    here(*train, "--max-update", "1")
    log = here(*train, "--max-update", "2")
    assert "num_updates=2" in log and "Loaded checkpoint" in log
    assert f"signature: connection:{connection}|" in log
    average = tmp_path / "average.pt"
    here("average-checkpoints", "--inputs", tmp_path, "--num-update-checkpoints", "2", "--output", average)
    two = [weights(tmp_path / f"checkpoint_1_{update}.pt") for update in (1, 2)]
    mean = {name: (two[0][name] + two[1][name]) / 2 for name in two[0]}
    assert_same(weights(average), mean, tolerance=1e-6)
    short = ("--beam", "3", "--max-len-b", "20", "--max-tokens", "300", "--cpu")
    generated = here("generate", data, "--path", average, *short)
    assert hypotheses(generated).keys() == set(range(SIZES["test"]))
    validated = here("validate", data, "--path", average, "--max-tokens", "300", "--cpu")
    assert re.search(r"valid on 'valid' subset \| loss \d", validated)


@pytest.mark.parametrize("stop_at", ["--max-epoch=1", "--max-epoch=2", "--max-update=7"])
def test_training_goes_on_as_if_never_stopped(stop_at, data, tmp_path, here):
    """Wherever it stops: the same batches in the same order, the same dropout, the same optimizer."""
    train = ["train", data, *NARROW, *TRAINING, "--save-interval-updates", "1", "--save-dir"]
    here(*train, tmp_path / "once", "--max-epoch", "3")
    here(*train, tmp_path / "twice", stop_at)
    here(*train, tmp_path / "twice", "--max-epoch", "3")
    assert_same(*(weights(tmp_path / name / "checkpoint_last.pt") for name in ("once", "twice")))


def test_kill_9_loses_nothing_that_was_saved(data, trained, tmp_path):
    saved, _ = trained
    train = [
        sys.executable,
        "-m",
        "b2t_fairseq.cli",
        "train",
        data,
        *NARROW,
        *TRAINING,
        "--save-dir",
        tmp_path,
        "--max-epoch",
        "2",
    ]
    train = [str(part) for part in [*train, "--save-interval-updates", "2"]]
    process = subprocess.Popen(train, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not (tmp_path / "checkpoint_last.pt").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert shell(*train).returncode == 0
    assert_same(weights(tmp_path / "checkpoint_last.pt"), weights(saved / "checkpoint_last.pt"))


def test_two_processes_train_one_model(data, tmp_path, here):
    """Two ranks, one batch each, do what one rank does with two batches an update."""
    options = [*NARROW, "--dropout=0", *TRAINING, "--max-epoch", "2", "--ddp-backend", "legacy_ddp"]
    log = shell(
        *(command("torchrun"), "--nproc_per_node", "2", "--master_port", str(free_port()), command("fairseq-train")),
        *(data, "--user-dir", PLUGIN, *options, "--save-dir", tmp_path / "two", "--distributed-world-size", "2"),
    ).stdout
    assert "training on 2 devices" in log
    one = here("train", data, *options, "--save-dir", tmp_path / "one", "--update-freq", "2")
    updates = [re.findall(r"num_updates (\d+)", text)[-1] for text in (log, one)]
    assert updates[0] == updates[1]
    assert_same(*(weights(tmp_path / name / "checkpoint_last.pt") for name in ("one", "two")), tolerance=2e-4)
    resumed = shell(
        *(
            command("torchrun"),
            "--nproc_per_node",
            "2",
            "--master_port",
            str(free_port()),
            "-m",
            "b2t_fairseq.cli",
            "train",
        ),
        *(
            data,
            *NARROW,
            *TRAINING,
            "--max-epoch",
            "3",
            "--save-dir",
            tmp_path / "two",
            "--distributed-world-size",
            "2",
        ),
    ).stdout
    assert "Loaded checkpoint" in resumed and "begin training epoch 3" in resumed


@pytest.mark.parametrize("connection", ["post", "b2t"])
def test_hydra_trains_and_its_checkpoints_generate(connection, data, tmp_path, here):
    (tmp_path / "run.yaml").write_text(
        f"""# @package _group_
common: {{cpu: true, seed: 3}}
task: {{_name: translation, data: {data}, source_lang: en, target_lang: de}}
criterion: {{_name: label_smoothed_cross_entropy, label_smoothing: 0.1}}
dataset: {{max_tokens: 400, num_workers: 0}}
optimization: {{lr: [0.003], max_epoch: 1}}
optimizer: {{_name: adam}}
lr_scheduler: {{_name: inverse_sqrt, warmup_updates: 4}}
checkpoint: {{save_dir: {tmp_path / "saved"}}}
model:
  _name: transformer_b2t_18_18_tiny
  connection: {connection}
  encoder_layers: 2
  decoder_layers: 1
  share_all_embeddings: true
  decoder_word_dropout: 0.1
"""
    )
    log = ours("hydra-train", "--config-dir", tmp_path, "--config-name", "run", cwd=tmp_path).stdout
    assert f"signature: connection:{connection}|init:default|layers:2-1|" in log
    saved = tmp_path / "saved" / "checkpoint_last.pt"
    generated = here("generate", data, "--path", saved, "--beam", "2", "--cpu", "--max-tokens", "300")
    assert hypotheses(generated).keys() == set(range(SIZES["test"]))


def test_the_sample_of_hydras_configuration_trains(data, tmp_path):
    folder = Path(__file__).resolve().parents[1] / "configs" / "examples"
    sizes = [f"++model.{side}_{size}" for side in ("encoder", "decoder") for size in ("layers=1", "embed_dim=16")]
    short = ("optimization.max_update=2", "++common.cpu=true", "dataset.max_tokens=400", "++dataset.num_workers=0")
    where = (f"task.data={data}", f"checkpoint.save_dir={tmp_path / 'saved'}")
    run = ("hydra-train", "--config-dir", folder, "--config-name", "hydra", *where, *sizes, *short)
    log = ours(*run, cwd=tmp_path).stdout
    assert "signature: connection:b2t|init:default|layers:1-1|" in log
    assert (tmp_path / "saved" / "checkpoint_last.pt").is_file()


def test_interactive(data, trained):
    saved, _ = trained
    lines = (data.parent / "test.en").read_text(encoding="utf-8").splitlines()[:3]
    translate = (
        "interactive",
        data,
        "--path",
        saved / "checkpoint_best.pt",
        "--cpu",
        "-s",
        "en",
        "-t",
        "de",
        "--beam",
        "2",
    )
    output = ours(*translate, input="\n".join(lines) + "\n").stdout
    assert hypotheses(output).keys() == {0, 1, 2}


@pytest.mark.parametrize("where", ["absolute", "relative", "symlink"])
def test_the_plugin_is_found_by_path(where, data, trained, tmp_path, here, monkeypatch):
    saved, _ = trained
    path = {"absolute": PLUGIN, "relative": os.path.relpath(PLUGIN, tmp_path), "symlink": tmp_path / "b2t_fairseq"}[
        where
    ]
    if where == "symlink":
        path.symlink_to(PLUGIN)
    generate = (data, "--user-dir", path, "--path", saved / "checkpoint_last.pt", "--cpu", "--max-tokens", "300")
    assert len(hypotheses(shell(command("fairseq-generate"), *generate, cwd=tmp_path).stdout)) == SIZES["test"]
    monkeypatch.chdir(tmp_path)
    assert len(hypotheses(here("generate", *generate))) == SIZES["test"]


@pytest.mark.parametrize("size", [1, 8, 9, 20])
def test_no_sentence_is_dropped(size, trained, tmp_path, here):
    saved, _ = trained
    data = make_data(tmp_path, test_size=size)
    generated = here("generate", data, "--path", saved / "checkpoint_last.pt", "--cpu", "--max-tokens", "150")
    assert hypotheses(generated).keys() == set(range(size))


def test_bf16_trains(data, tmp_path, here):
    log = here("train", data, *NARROW, *TRAINING, "--bf16", "--max-epoch", "1", "--save-dir", tmp_path)
    assert "done training" in log
    saved = weights(tmp_path / "checkpoint_last.pt")["encoder.layers.0.fc1.weight"]
    assert torch.equal(saved, saved.bfloat16().float()), "fairseq saves float32; the numbers are bfloat16"


def test_alignments_and_ensembles(data, trained, here):
    saved, _ = trained
    both = f"{saved / 'checkpoint1.pt'}:{saved / 'checkpoint2.pt'}"
    generate = ("generate", data, "--cpu", "--max-tokens", "300", "--beam", "2")
    assert len(hypotheses(here(*generate, "--path", both))) == SIZES["test"]
    aligned = here(*generate, "--path", saved / "checkpoint1.pt", "--print-alignment")
    assert len(re.findall(r"^A-\d+\t\d+-\d+", aligned, flags=re.MULTILINE)) >= SIZES["test"] - 1


def test_another_connections_checkpoint_is_refused(data, trained, tmp_path, here):
    saved, _ = trained
    train = (data, *NARROW, *TRAINING, "--connection", "post", "--max-epoch", "3", "--save-dir", tmp_path)
    for option in ("--restore-file", "--finetune-from-model"):
        error = the_error(here("train", *train, option, saved / "checkpoint_last.pt", status=2))
        assert "connection:b2t|" in error and "connection:post|" in error
    override = ("--path", saved / "checkpoint_last.pt", "--cpu", "--model-overrides", "{'connection':'post'}")
    assert "connection:post" in the_error(here("generate", data, *override, status=2))


def rotated(data, folder, languages, larger=False):
    """The data with the dictionaries' symbols in another order, and perhaps one more."""
    folder = shutil.copytree(data, folder)
    for language in languages:
        path = folder / f"dict.{language}.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([*lines[1:], lines[0], *["another 1"] * larger]) + "\n", encoding="utf-8")
    return folder


def the_error(printed: str) -> str:
    (sentence,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    return sentence


@pytest.mark.parametrize("larger", [False, True], ids=["as large", "larger"])
def test_another_vocabulary_is_refused(larger, data, trained, tmp_path, here, monkeypatch):
    saved, _ = trained
    other, best = rotated(data, tmp_path / "other", ("en", "de"), larger), ("--path", saved / "checkpoint_best.pt")
    monkeypatch.setattr("sys.stdin", io.StringIO("the man sees the dog .\n"))
    for command_line in (
        ("generate", other, *best, "--cpu", "--max-tokens", "300"),
        ("interactive", other, *best, "--cpu", "-s", "en", "-t", "de"),
        ("validate", other, *best, "--cpu", "--max-tokens", "300"),
    ):
        assert f"{other} has another vocabulary" in the_error(here(*command_line, status=2))
    with pytest.raises(UserError, match="another vocabulary"):
        TransformerModel.from_pretrained(str(saved), "checkpoint_best.pt", str(other))
    for option in ("--restore-file", "--finetune-from-model"):
        train = ("train", other, *NARROW, *TRAINING, "--max-epoch", "3", "--save-dir", tmp_path / option)
        printed = here(*train, option, saved / "checkpoint_last.pt", status=2)
        assert f"{saved}/checkpoint_last.pt was trained with another vocabulary" in the_error(printed)


@pytest.mark.parametrize("language", ["en", "de"])
def test_another_vocabulary_on_one_side_is_refused(language, data, trained, tmp_path, here):
    other = rotated(data, tmp_path / "other", [language])
    generate = ("generate", other, "--path", trained[0] / "checkpoint_last.pt", "--cpu", "--max-tokens", "300")
    assert "another vocabulary" in the_error(here(*generate, status=2))


def test_counts_are_no_part_of_the_vocabulary_and_older_checkpoints_have_none(data, trained, tmp_path, here):
    saved, _ = trained
    counted = shutil.copytree(data, tmp_path / "counted")
    for path in counted.glob("dict.*.txt"):
        path.write_text(re.sub(r" \d+$", " 1", path.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8")
    generate = ("--cpu", "--max-tokens", "300", "--path")
    expected = hypotheses(here("generate", data, *generate, saved / "checkpoint_last.pt"))
    assert hypotheses(here("generate", counted, *generate, saved / "checkpoint_last.pt")) == expected
    state = load_checkpoint(str(saved / "checkpoint_last.pt"))
    assert re.fullmatch(r"\d+ pieces, [0-9a-f]{8}", state["cfg"]["model"].vocabulary)  # of a joined dictionary
    del state["cfg"]["model"].vocabulary
    torch.save(state, tmp_path / "older.pt")
    assert hypotheses(here("generate", data, *generate, tmp_path / "older.pt")) == expected
    other = rotated(data, tmp_path / "other", ("en", "de"))
    assert hypotheses(here("generate", other, *generate, tmp_path / "older.pt"))
    log = here("train", data, *NARROW, *TRAINING, "--max-epoch", "3", "--save-dir", tmp_path, "--restore-file",
               tmp_path / "older.pt")  # fmt: skip
    assert "Loaded checkpoint" in log


def test_a_sentence_that_is_too_long_is_one_sentence(data, trained, tmp_path, here, monkeypatch):
    saved, _ = trained
    last = ("--path", saved / "checkpoint_last.pt", "--cpu")
    typed = "the man sees the dog .\n" + "dog " * 6000 + "\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    told = the_error(here("interactive", data, *last, "-s", "en", "-t", "de", "--buffer-size", "2", status=2))
    assert told.startswith("error: a sentence of 6,001 tokens") and "at most 1,024" in told
    assert "--skip-invalid-size-inputs-valid-test" in told
    source = (data.parent / "test.en").read_text(encoding="utf-8").splitlines()
    longest = max(range(len(source)), key=lambda line: len(source[line].split()))
    most = len(source[longest].split())  # with the end of the sentence one too many
    told = the_error(here("generate", data, *last, "--max-source-positions", most, status=2))
    numbers = [line + 1 for line, text in enumerate(source) if len(text.split()) == most]
    assert re.search(rf"the source of sentence ({'|'.join(map(str, numbers))}) of {most + 1} tokens", told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--connection", "b3t"), "'b3t' is unknown: choose one of post, pre, b2t"),
        (("--connection-init", "b3t"), "'b3t' is unknown: choose one of auto, default, rescale"),
        (("--arch", "transformer_b2t_17_17"), "'transformer_b2t_17_17' is not an architecture"),
        (("--encoder-normalize-before",), "--encoder-normalize-before does not go with --connection"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(options, message, data, tmp_path):
    train = (command("fairseq-train"), data, "--user-dir", PLUGIN, *NARROW, *TRAINING, *options, "--save-dir", tmp_path)
    run = shell(*train, check=False)
    assert run.returncode != 0
    assert message in run.stdout.strip().splitlines()[-1]
