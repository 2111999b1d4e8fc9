"""LibriSpeech's layout and what is made of it: everything kept is right, everything left out is named."""

import csv
import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import soundfile
import yaml

from b2t_fairseq import UserError
from b2t_fairseq.corpora.embedded import dtmf
from b2t_fairseq.corpora.speech import archive as speech_archive
from b2t_fairseq.corpora.speech.features import RATE, speech_features
from b2t_fairseq.corpora.speech.layout import find_splits, prepare, read_split
from b2t_fairseq.corpora.speech.manifest import read_manifest, write_table
from b2t_fairseq.evaluation.wer import error_rates


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    dtmf.generate(root, {"train-a": 6, "train-b": 6, "dev": 3, "test": 3}, seed=3)
    return root


@pytest.fixture
def raw(made, tmp_path):
    return shutil.copytree(made, tmp_path / "raw")


def manifest(path):
    """As fairseq reads it."""
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quotechar=None, doublequote=False, quoting=csv.QUOTE_NONE))


def transcript(raw, split):
    return next(raw.glob(f"{split}/*/*/*.trans.txt"))


def test_splits_are_found_training_first(raw, tmp_path):
    assert find_splits(raw) == ["train-a", "train-b", "dev", "test"]
    os.makedirs(tmp_path / "outer")
    shutil.move(raw, tmp_path / "outer" / "LibriSpeech")
    assert find_splits(tmp_path / "outer") == ["train-a", "train-b", "dev", "test"]


@pytest.mark.parametrize("workers", [1, 2])
def test_features_lie_where_the_manifest_says(raw, tmp_path, workers):
    data = tmp_path / "data"
    prepare(raw, data, vocab_size=40, workers=workers)
    for split in ("train-a", "dev", "test"):
        rows = manifest(data / f"{split}.tsv")
        utterances, skipped = read_split(raw, split)
        assert [row["id"] for row in rows] == [utterance.id for utterance in utterances] and not skipped
        with zipfile.ZipFile(data / "features" / f"{split}.zip") as archive:
            assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        for row, utterance in zip(rows, utterances, strict=True):
            name, offset, size = row["audio"].split(":")
            content = (data / "features" / name).read_bytes()[int(offset) : int(offset) + int(size)]
            features = np.load(io.BytesIO(content))
            assert (features == speech_features(utterance.audio)).all() and features.dtype == np.float32
            assert int(row["n_frames"]) == len(features)
            assert (row["tgt_text"], row["speaker"]) == (utterance.text, utterance.speaker)
            assert row["tgt_text"] == row["tgt_text"].lower()
    config = yaml.safe_load((data / "config.yaml").read_text())
    assert str(tmp_path) not in (data / "config.yaml").read_text()
    assert config["feature_transforms"] == {"_train": ["utterance_cmvn", "specaugment"], "*": ["utterance_cmvn"]}
    pieces = [line.split(" ") for line in (data / "dict.txt").read_text(encoding="utf-8").splitlines()]
    assert all(len(piece) == 2 for piece in pieces) and not {"<unk>", "<s>"} & {piece[0] for piece in pieces}


def test_what_does_not_go_together_is_left_out_and_named(raw, tmp_path, capsys):
    text, kept = transcript(raw, "train-a"), len(read_split(raw, "train-a")[0])
    folder = text.parent
    lines = text.read_text().splitlines()
    names = [line.split()[0] for line in lines]
    soundfile.write(folder / "nobody.flac", np.zeros(RATE), RATE)
    (folder / f"{names[0]}.flac").write_bytes(b"fLaC not really")
    soundfile.write(folder / "brief.wav", np.full(900, 0.1), RATE)
    soundfile.write(folder / "endless.wav", np.full(31 * RATE, 0.1), RATE)
    soundfile.write(folder / "mute.wav", np.full(RATE, 0.1), RATE)
    more = [lines[0], "gone SOME WORDS", "mute", "brief ONE", "endless ONE TWO", "wordy " + "ONE " * 300]
    text.write_text("\n".join([*lines, *more]) + "\n")
    summaries = prepare(raw, tmp_path / "data", vocab_size=40)
    reasons = dict(row.values() for row in manifest(tmp_path / "data" / "train-a.skipped.tsv"))
    for name, reason in {
        names[0]: "not an audio file",
        "gone": "no audio 0/gone.flac",
        "mute": "transcript is empty",
        "wordy": "1199 characters, the most is 1000",
        "nobody": "audio without a transcript",
        "brief": "too short: 4 frames",
        "endless": "too long: 3098 frames",
    }.items():
        assert reason in reasons[name]
    skipped = summaries[0].skipped
    assert (names[0], "a second transcript with this identifier") in skipped and len(skipped) == 8
    assert summaries[0].utterances == kept - 1 == len(manifest(tmp_path / "data" / "train-a.tsv"))
    assert "8 left out" in capsys.readouterr().err


def skipped_of(raw, split):
    utterances, skipped = read_split(raw, split)
    return [utterance.id for utterance in utterances], sorted(skipped)


def test_a_folder_with_audio_but_no_transcript_is_named_and_one_without_audio_is_not(raw, tmp_path, capsys):
    for name in ("test-silent/7/1/7-1-0000.flac", "test-flat/7-1.WAV", "notes/a/b/readme.txt", "loose.wav"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).touch()
    prepare(raw, tmp_path / "data", vocab_size=40)
    warning = next(line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{raw}: "))
    assert warning.endswith("are left out: the folder itself (1), test-flat (1), test-silent (1)")
    assert find_splits(raw) == ["train-a", "train-b", "dev", "test"]


def test_a_layout_in_order_is_no_occasion_for_a_warning(raw, capsys):
    find_splits(raw)
    assert capsys.readouterr().err == ""


def test_the_same_identifier_as_flac_and_as_wav_is_named_and_the_flac_is_used(raw):
    before = read_split(raw, "dev")[0]
    for suffix in (".wav", ".Flac"):
        before[0].audio.with_suffix(suffix).touch()
    utterances, skipped = read_split(raw, "dev")
    name = before[0].id
    assert [utterance.id for utterance in utterances] == [utterance.id for utterance in before]
    assert utterances[0].audio.suffix == ".Flac"  # of two .flac the first by name; in any case none of them is silent
    assert skipped == [
        (name, f"{name}{suffix} is a second audio file of this identifier; {name}.Flac is used")
        for suffix in (".flac", ".wav")
    ]


def test_files_beside_the_layout_are_named(raw):
    kept, _ = skipped_of(raw, "train-a")
    speaker = transcript(raw, "train-a").parents[1]
    places = [raw / "train-a" / "top.flac", speaker / "misplaced.WAV", speaker / "0" / "deep" / "er" / "x.flac"]
    places.append(speaker / "all.trans.txt")
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    reason = "not in a folder speaker/chapter of the split"
    expected = sorted((str(path.relative_to(raw / "train-a")), reason) for path in places)
    assert skipped_of(raw, "train-a") == (kept, expected)


def test_links_to_folders_are_followed_and_a_loop_of_links_ends(raw, tmp_path):
    kept, _ = skipped_of(raw, "dev")
    shutil.move(raw / "dev", tmp_path / "elsewhere")
    (raw / "dev").mkdir()
    for speaker in (tmp_path / "elsewhere").iterdir():
        (raw / "dev" / speaker.name).symlink_to(speaker)
    (transcript(raw, "dev").parent / "loop").symlink_to(raw / "dev")
    assert skipped_of(raw, "dev") == (kept, [])


def test_a_folder_that_cannot_be_read_is_named(raw, monkeypatch):
    closed, real = transcript(raw, "dev").parent, os.scandir

    def scandir(path):
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    place = str(closed.relative_to(raw / "dev"))
    assert (place, "this folder cannot be read: Permission denied") in skipped_of(raw, "dev")[1]


def test_suffixes_count_in_any_case(raw):
    kept, _ = skipped_of(raw, "test")
    for path in [*raw.glob("test/*/*/*.flac"), *raw.glob("test/*/*/*.trans.txt")]:
        path.rename(path.with_name(path.stem + path.suffix.upper()))
    assert skipped_of(raw, "test") == (kept, []) and "test" in find_splits(raw)


def test_a_transcript_of_punctuation_is_left_out_so_that_the_rest_can_be_scored(raw, tmp_path):
    text = transcript(raw, "test")
    lines = text.read_text().splitlines()
    name = lines[0].split()[0]
    text.write_text("\n".join([f"{name} , . --", *lines[1:]]) + "\n")
    prepare(raw, tmp_path / "data", vocab_size=40)
    assert manifest(tmp_path / "data" / "test.skipped.tsv") == [
        {"name": name, "reason": "its transcript holds nothing but punctuation: , . --"}
    ]
    told = [row["tgt_text"] for row in manifest(tmp_path / "data" / "test.tsv")]
    assert error_rates(told, told)["WER"].score == 0


def test_splits_that_are_lost_do_not_hold_up_the_others(raw, tmp_path):
    shutil.copytree(raw / "test", raw / "val")  # the last one, which still has to be done
    for path in [path for path in (raw / "val").rglob("*.*") if path.is_file()]:
        path.unlink() if path.suffix == ".flac" else path.write_text("")
    for path in raw.glob("dev/*/*/*.flac"):
        path.write_bytes(b"")
    data = tmp_path / "data"
    with pytest.raises(UserError, match="no utterance of dev, val can be used") as error:
        prepare(raw, data, vocab_size=40)
    assert f"{data / 'dev.skipped.tsv'}, val is empty" in str(error.value)
    assert len(manifest(data / "test.tsv")) == 3 and len(manifest(data / "dev.skipped.tsv")) == 3
    assert all((data / name).is_file() for name in ("spm.model", "dict.txt", "config.yaml"))


def test_without_one_of_the_training_splits_there_is_no_vocabulary(raw, tmp_path):
    for path in raw.glob("train-a/*/*/*.flac"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no utterance of train-a can be used"):
        prepare(raw, tmp_path / "data", vocab_size=40)
    assert (tmp_path / "data" / "test.tsv").is_file() and not (tmp_path / "data" / "config.yaml").exists()


def test_long_test_utterances_are_kept_up_to_fairseqs_limit(raw, tmp_path):
    folder = transcript(raw, "test").parent
    soundfile.write(folder / "long.wav", np.full(31 * RATE, 0.1), RATE)
    soundfile.write(folder / "endless.wav", np.full(61 * RATE, 0.1), RATE)
    with open(transcript(raw, "test"), "a") as file:
        file.write("long ONE\nendless TWO\n")
    prepare(raw, tmp_path / "data", vocab_size=40)
    rows = {row["id"] for row in manifest(tmp_path / "data" / "test.tsv")}
    assert "long" in rows and "endless" not in rows


def test_a_transcript_that_is_not_utf_8_is_named_and_the_others_are_read(raw):
    text = transcript(raw, "train-a")
    text.write_bytes(b"\xff\xfe" + text.read_bytes())
    utterances, skipped = read_split(raw, "train-a")
    assert utterances and (text.name in dict(skipped))


def test_what_is_done_is_kept_and_what_has_changed_is_done_again(raw, tmp_path, monkeypatch):
    prepare(raw, tmp_path / "data", vocab_size=40)
    calls = []
    real = speech_archive.features_or_reason
    monkeypatch.setattr(speech_archive, "features_or_reason", lambda path: calls.append(path) or real(path))
    prepare(raw, tmp_path / "data", vocab_size=40)
    assert calls == []
    text = transcript(raw, "dev")
    text.write_text(text.read_text().replace("ZERO", "NULL").replace("ONE", "UN"))
    prepare(raw, tmp_path / "data", vocab_size=40)
    assert {path.relative_to(raw).parts[0] for path in calls} == {"dev"}


def test_an_interrupted_extraction_leaves_no_half_file(raw, tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(speech_archive, "features_or_reason", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, tmp_path / "data", vocab_size=40)
    assert list((tmp_path / "data").rglob("*.*")) == []


def test_one_utterance_in_two_splits_is_refused(raw, tmp_path):
    speaker = transcript(raw, "test").parents[1]
    shutil.copytree(speaker, raw / "train-a" / speaker.name)
    with pytest.raises(UserError, match="both in train-a and in test"):
        prepare(raw, tmp_path / "data", vocab_size=40)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda raw: shutil.rmtree(raw), "no such folder"),
        (lambda raw: [shutil.rmtree(raw / name) for name in os.listdir(raw)], "no LibriSpeech layout"),
        (lambda raw: [shutil.rmtree(raw / name) for name in ("train-a", "train-b")], "no training utterance"),
        (lambda raw: [path.write_bytes(b"") for path in raw.glob("dev/*/*/*.flac")], "no utterance of dev can be used"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(raw, tmp_path, change, sentence):
    change(raw)
    with pytest.raises(UserError, match=sentence):
        prepare(raw, tmp_path / "data", vocab_size=40)


def test_unknown_splits_are_refused(raw, tmp_path):
    with pytest.raises(UserError, match="no split dev-clean; it has train-a"):
        prepare(raw, tmp_path / "data", splits=["train-a", "dev-clean"])


HEAD = "id\taudio\tn_frames\ttgt_text\n"


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("id\taudio\n", "lacks the column n_frames"),
        (HEAD, "no utterance"),
        (HEAD + "a\tx\t7\tone\na\tx\t7\ttwo\n", "line 3: the identifier a is there twice"),
        (HEAD + "a\tx\t7\t \n", "text of a is empty"),
        (HEAD + "a\tx\t0\tone\n", "0 is not a number of frames"),
        (HEAD + "a\tx\t7\tone\ttoo many\n", "5 fields"),
    ],
)
def test_a_damaged_manifest_is_one_sentence(tmp_path, content, sentence):
    (tmp_path / "test.tsv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_manifest(tmp_path / "test.tsv")


def test_quotation_marks_and_spaces_survive_as_fairseq_reads_them(tmp_path):
    write_table(tmp_path / "t.tsv", ("id", "tgt_text"), [("a", 'say "so\t now"'), ("b", "it's \\ fine")])
    assert [row["tgt_text"] for row in manifest(tmp_path / "t.tsv")] == ['say "so now"', "it's \\ fine"]


def test_a_damaged_record_of_a_split_is_extracted_again(raw, tmp_path, capsys):
    prepare(raw, tmp_path / "data", vocab_size=40)
    record = tmp_path / "data" / "features" / "dev.json"
    whole = record.read_text()
    known = json.loads(whole)
    wrong = ["", "[]", "null", "[" * 100_000, json.dumps(known | {"frames": "x"}), json.dumps(known | {"skipped": [3]})]
    for text in wrong:
        record.write_text(text)
        summary = {summary.split: summary for summary in prepare(raw, tmp_path / "data", vocab_size=40)}["dev"]
        assert (summary.utterances, summary.skipped) == (3, []) and record.read_text() == whole
    assert capsys.readouterr().err.count("dev.json is damaged and ignored") == 5  # the last is a record, but not usable
