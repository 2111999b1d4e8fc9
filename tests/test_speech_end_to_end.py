"""From audio files to text and to error rates through the real command lines."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch
from builders import ALL_CONNECTIONS

from b2t_fairseq import UserError, cli
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.corpora.embedded import dtmf
from b2t_fairseq.corpora.speech import layout as librispeech
from b2t_fairseq.corpora.speech.features import RATE
from b2t_fairseq.corpora.speech.manifest import read_manifest
from b2t_fairseq.evaluation.wer import error_rates, read_recognised
from b2t_fairseq.models.speech_to_text import B2TSpeechToTextModel

NARROW = [
    *("--arch", "s2t_transformer_b2t_6_6_tiny", "--conv-channels", "16", "--dropout", "0"),
    *(
        f"--{side}-{name}={value}"
        for side in ("encoder", "decoder")
        for name, value in (("layers", 2), ("embed-dim", 16), ("ffn-embed-dim", 24), ("attention-heads", 2))
    ),
]
TRAINING = [
    *("--task", "speech_to_text", "--train-subset", "train", "--valid-subset", "valid", "--cpu"),
    *("--criterion", "label_smoothed_cross_entropy_with_ctc", "--ctc-weight", "0.5", "--label-smoothing", "0.1"),
    *("--optimizer", "adam", "--lr", "0.003", "--max-tokens", "2000", "--seed", "3", "--num-workers", "0"),
    *("--log-format", "simple", "--log-interval", "1"),
]
GENERATING = ["--task", "speech_to_text", "--cpu", "--max-tokens", "4000", "--max-len-b", "12", "--beam", "3"]
TESTED = 9


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    dtmf.generate(folder, {"train": 24, "valid": 5, "test": TESTED}, seed=2)
    return folder


@pytest.fixture(scope="module")
def made(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "data"
    librispeech.prepare(raw, folder, vocab_size=40, specaugment="short")
    return folder


@pytest.fixture
def data(made, tmp_path):
    return shutil.copytree(made, tmp_path / "moved")  # the folder works wherever it is


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """The checkpoint of a B2T model after one update."""
    saved = tmp_path_factory.mktemp("trained")
    assert (
        cli.main([str(a) for a in ["train", made, *NARROW, *TRAINING, "--max-update", "1", "--save-dir", saved]]) == 0
    )
    return saved / "checkpoint_last.pt"


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_connection_trains_and_decodes(connection, data, tmp_path, here):
    train = ["train", data, *NARROW, *TRAINING, "--connection", connection, "--save-dir", tmp_path]
    log = here(*train, "--max-update", "1")
    assert f"signature: connection:{connection}|" in log and "ctc_loss" in log
    generated = here("generate", data, "--path", tmp_path / "checkpoint_last.pt", "--gen-subset", "test", *GENERATING)
    references = [row["tgt_text"] for row in read_manifest(data / "test.tsv")]
    scores = error_rates(read_recognised(generated.splitlines(), references), references)
    assert scores["WER"].counts["utterances"] == TESTED and scores["WER"].score > 0


def test_training_goes_on_where_it_stopped(made, trained, tmp_path, here):
    (tmp_path / "checkpoint_last.pt").write_bytes(trained.read_bytes())
    log = here("train", made, *NARROW, *TRAINING, "--save-dir", tmp_path, "--max-update", "2")
    assert "Loaded checkpoint" in log and re.search(r"num_updates[= ]2", log)


def test_our_score_is_fairseqs(made, trained, tmp_path, here):
    generate = ["generate", made, "--path", trained, "--gen-subset", "test", *GENERATING]
    generated = here(*generate, "--scoring", "wer", "--wer-lowercase", "--wer-remove-punct")
    (tmp_path / "gen.out").write_text(generated, encoding="utf-8")
    line = here("wer", "--hypotheses", tmp_path / "gen.out", "--references", made / "test.tsv").splitlines()[0]
    assert float(re.match(r"WER (\S+) ", line)[1]) == pytest.approx(
        float(re.search(r"WER: (\S+)", generated)[1]), abs=0.011
    )


def test_training_reads_what_specaugment_leaves_and_tests_do_not(made):
    """The same utterance twice: masked in training, the same numbers in a test set."""
    from argparse import Namespace

    from fairseq.tasks.speech_to_text import SpeechToTextTask

    args = Namespace(data=str(made), config_yaml="config.yaml", seed=1, train_subset="train", max_source_positions=600)
    task = SpeechToTextTask.setup_task(args)
    for split in ("train", "test"):
        task.load_dataset(split)
    # masked is the utterance's mean (fairseq's default): bins that are constant over time
    masked = [int((task.datasets["train"][0].source.std(dim=0) < 1e-6).sum()) for _ in range(20)]
    assert max(masked) > 0
    assert not (task.datasets["test"][0].source.std(dim=0) < 1e-6).any()
    first, again = (task.datasets["test"][0].source for _ in range(2))
    assert torch.equal(first, again)
    assert first.mean(dim=0).abs().max() < 1e-3 and (first.std(dim=0) - 1).abs().max() < 0.02


def audio(folder, seconds=0.8, rate=RATE, channels=1, name="a.wav"):
    samples = np.random.default_rng(0).normal(size=(int(seconds * rate), channels)) * 0.05
    soundfile.write(folder / name, samples, rate)
    return folder / name


def transcribe(here, data, trained, *files, status=0, options=()):
    printed = here("transcribe", "--path", trained, "--data", data, "--beam", "2", *options, *files, status=status)
    return [line for line in printed.splitlines() if "\t" in line or line.startswith(("error", "warning"))]


def test_transcribe_prints_a_line_for_each_file(raw, made, trained, tmp_path, here):
    flac = next(raw.glob("test/*/*/*.flac"))
    files = [flac, audio(tmp_path, rate=8000, name="8k.wav"), audio(tmp_path, rate=44100, channels=2, name="2.flac")]
    lines = transcribe(here, made, trained, *files)
    assert [line.split("\t")[0] for line in lines] == [str(file) for file in files]
    generated = here("generate", made, "--path", trained, "--gen-subset", "test", *GENERATING, "--beam", "2")
    names = [row["id"] for row in read_manifest(made / "test.tsv")]
    recognised = read_recognised(generated.splitlines(), [])
    # generate and transcribe stop at other lengths; up to there they agree
    assert lines[0].split("\t")[1].startswith(recognised[names.index(flac.stem)][:20])


def test_transcribe_says_what_is_wrong_with_a_file_and_does_the_others(made, trained, tmp_path, here, capsys):
    good = audio(tmp_path)
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "empty.flac").write_bytes(b"")
    loud = np.zeros(RATE, np.float32)
    loud[100] = 1e30
    soundfile.write(tmp_path / "loud.wav", loud, RATE, subtype="FLOAT")
    files = [tmp_path / "text.wav", tmp_path / "empty.flac", audio(tmp_path, 0.04, name="s.wav"), tmp_path / "no.wav"]
    files.append(tmp_path / "loud.wav")
    lines = transcribe(here, made, trained, *files, good, status=2)
    told = [line for line in lines if line.startswith("error: ")]
    reasons = ["not an audio", "is empty", "too short (40 ms, the least is 65 ms)", "no such file", "not finite"]
    for line, file, reason in zip(told, files, reasons, strict=True):
        assert str(file) in line and reason in line
    assert any(line.startswith(f"{good}\t") for line in lines)


def test_long_files_are_refused_or_cut(made, trained, tmp_path, here, capsys):
    long = audio(tmp_path, 61, rate=8000)
    (line,) = transcribe(here, made, trained, long, status=2)
    assert "61.0 s long, the model takes at most 60.0 s; split it, or use --cut" in line
    assert cli.main(["transcribe", "--path", str(trained), "--data", str(made), "--beam", "1", "--cut", str(long)]) == 0
    printed = capsys.readouterr()
    assert "warning" in printed.err and printed.out.startswith(f"{long}\t")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"--path": "nowhere.pt"}, "nowhere.pt: no such file"),
        ({"--data": "nowhere"}, "nowhere/config.yaml: no such file"),
        ({"--beam": "0"}, "--beam: '0' must be"),
    ],
)
def test_transcribe_needs_its_model(made, trained, tmp_path, here, change, sentence):
    options = {"--path": trained, "--data": made, "--beam": "1"} | change
    printed = here("transcribe", *(part for pair in options.items() for part in pair), audio(tmp_path), status=2)
    assert sentence in printed and "Traceback" not in printed


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda data: (data / "spm.model").unlink(), "spm.model, and there is no such file: prepare the folder again"),
        (lambda data: (data / "config.yaml").write_text("a: [1\nb"), "config.yaml is not valid YAML"),
    ],
)
def test_transcribe_needs_the_whole_data_folder(data, trained, tmp_path, here, damage, sentence):
    damage(data)
    printed = here("transcribe", "--path", trained, "--data", data, audio(tmp_path), status=2)
    assert sentence in printed and "Traceback" not in printed


def test_another_vocabulary_is_refused_even_if_it_is_as_large(data, trained, tmp_path, here):
    lines = (data / "dict.txt").read_text(encoding="utf-8").splitlines()
    (data / "dict.txt").write_text("\n".join([*lines[1:], lines[0]]) + "\n", encoding="utf-8")
    assert "another vocabulary" in here("transcribe", "--path", trained, "--data", data, audio(tmp_path), status=2)
    assert "another vocabulary" in here(
        "generate", data, "--path", trained, "--gen-subset", "test", *GENERATING, status=2
    )


def test_training_does_not_go_on_with_another_vocabulary(data, trained, tmp_path, here):
    saved = shutil.copytree(trained.parent, tmp_path / "saved")
    lines = (data / "dict.txt").read_text(encoding="utf-8").splitlines()
    (data / "dict.txt").write_text("\n".join([*lines[1:], lines[0]]) + "\n", encoding="utf-8")
    printed = here("train", data, *NARROW, *TRAINING, "--save-dir", saved, "--max-update", "2", status=2)
    (sentence,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert f"{saved}/checkpoint_last.pt was trained with another vocabulary" in sentence


def test_a_subword_model_in_the_working_folder_is_not_mistaken_for_the_datas(
    raw, made, trained, tmp_path, here, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"another")
    (tmp_path / "features").mkdir()
    generate = ["generate", made, "--path", trained, "--gen-subset", "test", *GENERATING]
    assert "D-0\t" in here(*generate)


def test_from_pretrained_recognises_files_and_waveforms(raw, made, trained, here):
    file = next(raw.glob("test/*/*/*.flac"))
    hub = B2TSpeechToTextModel.from_pretrained(str(trained.parent), trained.name, str(made), beam=2)
    wave, _ = soundfile.read(file, dtype="float32")
    (text,) = hub.transcribe([file])
    assert hub.predict(str(file)) == hub.predict(torch.from_numpy(wave)[None]) == text
    assert transcribe(here, made, trained, file)[0] == f"{file}\t{text}"
    with pytest.raises(UserError, match="too short"):
        hub.predict(torch.zeros(1, 300))


def test_fairseq_itself_reads_audio_files(data, raw, trained, here):
    """A manifest that names FLAC and WAV files, of several rates, instead of features."""
    rows = read_manifest(data / "test.tsv")
    files = {path.stem: path for path in raw.glob("test/*/*/*.flac")}
    wave, _ = soundfile.read(files[rows[1]["id"]])
    slow = data / "slow.wav"
    soundfile.write(slow, np.stack([wave, wave], axis=1)[::2], RATE // 2)
    head, *lines = (data / "test.tsv").read_text(encoding="utf-8").splitlines()
    renamed = [line.replace(row["audio"], str(files[row["id"]])) for line, row in zip(lines, rows, strict=True)]
    renamed[1] = lines[1].replace(rows[1]["audio"], str(slow))
    (data / "audio.tsv").write_text("\n".join([head, *renamed]) + "\n", encoding="utf-8")
    generate = ["generate", data, "--path", trained, *GENERATING, "--gen-subset"]
    from_features, from_audio = (read_recognised(here(*generate, name).splitlines(), []) for name in ("test", "audio"))
    assert from_audio[0] == from_features[0] and from_audio[2:] == from_features[2:]
    assert len(from_audio) == TESTED


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda data: (data / "test.tsv").unlink(), "test.tsv: no such manifest"),
        (lambda data: (data / "test.tsv").write_text("id\taudio\tn_frames\ttgt_text\n"), "holds no utterance"),
        (lambda data: spoil(data, np.nan), "not finite"),
        (lambda data: (data / "features" / "test.zip").unlink(), "cannot be read"),
        (lambda data: (data / "config.yaml").write_text("just text"), "config.yaml must hold"),
    ],
)
def test_damaged_data_are_one_sentence(data, trained, here, damage, sentence):
    damage(data)
    printed = here("generate", data, "--path", trained, "--gen-subset", "test", *GENERATING, status=2)
    assert sentence in printed


def spoil(data, value) -> None:
    """One number of the first stored test utterance becomes another."""
    _, offset, size = read_manifest(data / "test.tsv")[0]["audio"].split(":")
    content = bytearray((data / "features" / "test.zip").read_bytes())
    content[int(offset) + int(size) - 4 : int(offset) + int(size)] = np.float32(value).tobytes()
    (data / "features" / "test.zip").write_bytes(content)


def test_checkpoints_carry_signature_and_vocabulary(trained):
    model = load_checkpoint(str(trained))["cfg"]["model"]
    assert model.connection_signature.startswith("connection:b2t|init:default|layers:2-2|")
    assert re.fullmatch(r"\d+ pieces, [0-9a-f]{8}", model.vocabulary)


def test_prepared_folders_can_be_made_by_the_command(raw, tmp_path, here):
    assert (
        librispeech.main(["--data", str(raw), "--output", str(tmp_path / "d"), "--vocab-size", "40", "--workers", "1"])
        == 0
    )
    assert json.loads((tmp_path / "d" / "features" / "test.json").read_text())["utterances"] == TESTED
