"""Bundles: whole, without a pickle, read by everything that loads a checkpoint, and trusted in nothing."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from end_to_end import ordered_hypotheses
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer_lm import TransformerLanguageModel

from b2t_fairseq import UserError, load
from b2t_fairseq.checkpoints import bundles
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.evaluation.text import read_lines
from b2t_fairseq.models.speech_to_text import B2TSpeechToTextModel
from b2t_fairseq.models.translation import B2TTransformerModel

safetensors = pytest.importorskip("safetensors", reason="the extra [export] is not installed")

DECODE = ["--cpu", "--beam", "3", "--max-len-b", "12", "--num-workers", "0", "--gen-subset", "test"]


@pytest.fixture(scope="session")
def exported(translation, summarization, language_model, speech, tmp_path_factory):
    """A bundle of each task, moved away from its data."""
    from b2t_fairseq import cli

    made = {}
    for name, model in (("mt", translation), ("titles", summarization), ("lm", language_model), ("asr", speech)):
        made[name] = tmp_path_factory.mktemp(f"bundle {name}") / "exported"
        assert cli.main(["export", str(model.run), str(made[name]), "--format", "safetensors"]) == 0
    return made


@pytest.fixture
def bundle(exported, tmp_path) -> Path:
    """A translation bundle that may be damaged."""
    return Path(shutil.copytree(exported["mt"], tmp_path / "bundle"))


@pytest.fixture
def spoken(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported["asr"], tmp_path / "spoken"))


def seal(folder: Path) -> None:
    """Write the checksums anew, as somebody would who alters a bundle on purpose."""
    names = sorted(path.name for path in folder.iterdir() if path.name != bundles.SUMS)
    (folder / bundles.SUMS).write_text("".join(f"{bundles.digest(folder / name)}  {name}\n" for name in names))


def alter(folder: Path, change) -> None:
    """Change config.json, and seal the bundle again."""
    config = json.loads((folder / bundles.CONFIG).read_text())
    change(config)
    (folder / bundles.CONFIG).write_text(json.dumps(config))
    seal(folder)


# --- what is in it


def test_the_files(exported):
    common = {"model.safetensors", "config.json", "SHA256SUMS"}
    files = {name: {path.name for path in folder.iterdir()} for name, folder in exported.items()}
    assert files["mt"] == common | {"dict.en.txt", "dict.de.txt", "subwords.model"}
    assert files["titles"] == common | {"dict.article.txt", "dict.title.txt", "subwords.model"}
    assert files["lm"] == common | {"dict.txt"}
    assert files["asr"] == common | {"dict.txt", "config.yaml", "subwords.model"}


def test_nothing_in_it_is_a_pickle_or_names_a_place_of_this_machine(exported, translation):
    for folder in exported.values():
        for path in folder.iterdir():
            content = path.read_bytes()
            assert not zipfile.is_zipfile(path) and not content.startswith(b"\x80")
            if path.name != "subwords.model":  # which holds what SentencePiece was trained with
                assert str(translation.run.parent.parent).encode() not in content, path
        config = json.loads((folder / "config.json").read_text())
        assert config["format"] == bundles.FORMAT and config["signature"].startswith("connection:b2t|")


def test_the_weights_are_the_checkpoints(exported, translation):
    """Tied ones are stored once, and are tied again."""
    original, read = load_checkpoint(translation.run / "averaged.pt")["model"], load_checkpoint(exported["mt"])["model"]
    assert original.keys() == read.keys() and all(torch.equal(original[name], read[name]) for name in original)
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
    assert len({read[name].data_ptr() for name in names}) == 1
    assert (exported["mt"] / "model.safetensors").stat().st_size < 1.1 * sum(
        tensor.numel() * 4 for name, tensor in read.items() if name not in names[1:]
    ) + 20_000


# --- the same as the checkpoint, by every door


@pytest.mark.parametrize("task", ["mt", "titles"])
def test_generate(task, exported, translation, summarization, here):
    model = translation if task == "mt" else summarization
    expected, found = (
        ordered_hypotheses(here("generate", model.data, "--path", path, *DECODE))
        for path in (model.run / "averaged.pt", exported[task])
    )
    assert found == expected and len(found) == 13


def test_generate_speech(exported, speech, here):
    task = ["--task", "speech_to_text", "--max-tokens", "4000", *DECODE]
    expected, found = (
        ordered_hypotheses(here("generate", speech.data, "--path", path, *task))
        for path in (speech.run / "averaged.pt", exported["asr"])
    )
    assert found == expected and len(found) == 4


def losses(printed: str, word: str) -> list[str]:
    lines = [line.partition(" | INFO | ")[2] or line for line in printed.splitlines() if word in line]
    assert lines
    return list(
        dict.fromkeys(line[line.index(word) :] for line in lines)
    )  # a command before may log them a second time


def test_eval_lm_and_validate(exported, language_model, translation, here):
    evaluate = ["eval-lm", language_model.data, "--gen-subset", "test", "--cpu", "--tokens-per-sample", "24", "--path"]
    expected, found = (
        losses(here(*evaluate, path), "Loss (base 2)") for path in (language_model.run / "averaged.pt", exported["lm"])
    )
    assert found == expected
    check = ["validate", translation.data, "--valid-subset", "valid", "--max-tokens", "400", "--cpu", "--path"]
    expected, found = (
        losses(here(*check, path), "| valid on") for path in (translation.run / "averaged.pt", exported["mt"])
    )
    assert found == expected


def test_interactive_with_the_bundle_alone(exported, translation, tmp_path, here):
    (tmp_path / "sources").write_text("\n".join(read_lines(translation.folder / "test.pieces.en")) + "\n")
    command = ["-s", "en", "-t", "de", "--cpu", "--beam", "3", "--max-len-b", "12", "--input", tmp_path / "sources"]
    expected = ordered_hypotheses(
        here("interactive", translation.data, "--path", translation.run / "averaged.pt", *command)
    )
    assert ordered_hypotheses(here("interactive", exported["mt"], "--path", exported["mt"], *command)) == expected


@pytest.mark.parametrize("kind", [TransformerModel, B2TTransformerModel])
def test_from_pretrained_needs_the_folder_alone(kind, exported, translation):
    options = {"bpe": "sentencepiece", "sentencepiece_model": str(translation.folder / "subwords.model")}
    hub = TransformerModel.from_pretrained(str(translation.run), "averaged.pt", str(translation.data), **options)
    lines = read_lines(translation.folder / "test.en")[:3]
    expected = hub.translate(lines, beam=3, max_len_b=12)
    found = kind.from_pretrained(str(exported["mt"])).translate(lines, beam=3, max_len_b=12)
    assert found == expected and not any("▁" in line for line in found)


def test_from_pretrained_of_the_other_tasks(exported, language_model, summarization, speech, here):
    hub = TransformerLanguageModel.from_pretrained(str(language_model.run), "averaged.pt", str(language_model.data))
    line = read_lines(language_model.folder / "test.txt")[0]
    found = TransformerLanguageModel.from_pretrained(str(exported["lm"])).score(line)["positional_scores"]
    assert torch.equal(found, hub.score(line)["positional_scores"])
    assert TransformerModel.from_pretrained(str(exported["titles"])).translate("a man sleeps", max_len_b=5) is not None
    files = sorted(speech.raw.glob("test/*/*/*.flac"))
    hub = B2TSpeechToTextModel.from_pretrained(str(speech.run), "averaged.pt", str(speech.data))
    found = B2TSpeechToTextModel.from_pretrained(str(exported["asr"]))
    expected = list(hub.transcribe(files))
    assert list(found.transcribe(files)) == expected
    printed = here("transcribe", "--path", exported["asr"], *files)
    assert [line.partition("\t")[2] for line in printed.splitlines() if "\t" in line] == expected


def test_a_bundle_of_a_bundle_is_the_same(exported, tmp_path, here):
    for name in ("mt", "asr"):
        here("export", exported[name], tmp_path / name, "--format", "safetensors")
        assert (tmp_path / name / "SHA256SUMS").read_text() == (exported[name] / "SHA256SUMS").read_text()


# --- damaged, incomplete, altered: one line


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "dict.en.txt", "subwords.model"])
def test_a_changed_byte_or_a_missing_file_is_one_line(name, bundle, translation, here):
    generate = ["generate", translation.data, "--path", bundle, *DECODE]
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    printed = here(*generate, status=2)
    assert printed.splitlines()[-1].startswith("error: ") and f"{name}: not the file that was exported" in printed
    (bundle / name).unlink()
    assert f"{name} is missing: the bundle is incomplete" in here(*generate, status=2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "SHA256SUMS is missing"),
        ("", "SHA256SUMS does not list model.safetensors"),
        ("00  model.safetensors\n", "damaged"),
        (f"{'0' * 64}  ../model.safetensors\n", "damaged"),
        (f"{'0' * 64}  /etc/passwd\n", "damaged"),
        ("\udc80", "damaged"),
    ],
)
def test_damaged_checksums(content, said, bundle):
    (bundle / bundles.SUMS).unlink()
    if content is not None:
        (bundle / bundles.SUMS).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=said):
        load_checkpoint(bundle)


def test_a_file_that_is_not_listed_is_not_used(bundle):
    (bundle / "dict.fr.txt").write_text("x 1\n")
    with pytest.raises(UserError, match=r"dict\.fr\.txt has no checksum"):
        load(bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(format="b2t_fairseq bundle, version 9"), "needs another version"),
        (lambda c: c.pop("options"), "damaged"),
        (lambda c: c.update(namespaces=["nothing"]), "not names and values"),
        (lambda c: c.update(subwords="bert"), "its subwords 'bert'"),
        (lambda c: c.update(tied={"encoder.x": "encoder.y"}), "tied to encoder.y"),
        (lambda c: c["options"].update(model=3), "not names and values"),
        (lambda c: c["options"]["task"].update(_name="online_backtranslation"), "--trust-checkpoint"),
        (lambda c: c["options"]["model"].update(connection="x", connection_module="x.py"), "--connection-module x.py"),
        (lambda c: c["options"]["model"].update(encoder_layers=10**8), "encoder_layers is 100000000"),
        (lambda c: c["options"]["model"].update(connection="post"), "holds another model"),
        (lambda c: c["options"]["model"].update(vocabulary="9 pieces, 00000000"), "another vocabulary"),
    ],
)
def test_what_somebody_alters_on_purpose_is_one_line(change, said, bundle):
    alter(bundle, change)
    with pytest.raises(UserError, match=said):
        load(bundle)


def test_no_code_of_a_bundle_is_run(bundle, tmp_path, monkeypatch):
    """A module beside it, which its options name, and which its connection would need."""
    (bundle / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(bundle)
    alter(bundle, lambda c: c["options"]["model"].update(connection_module="theirs.py"))
    load(bundle)
    alter(bundle, lambda c: c["options"]["common"].update(user_dir=str(bundle)))
    load(bundle)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_the_models(bundle, translation, here):
    from safetensors.torch import load_file, save_file

    weights = load_file(bundle / bundles.WEIGHTS)
    weights.pop("encoder.layers.0.fc1.bias")
    save_file(weights, bundle / bundles.WEIGHTS)
    seal(bundle)
    with pytest.raises(UserError, match="not the weights of its options .*encoder.layers.0.fc1.bias"):
        load(bundle)
    assert "fc1.bias" in here("generate", translation.data, "--path", bundle, *DECODE, status=2).splitlines()[-1]
    (bundle / bundles.WEIGHTS).write_bytes(b"\x10" + bytes(40))
    seal(bundle)
    with pytest.raises(UserError, match="not a safetensors file"):
        load(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(vocab_filename="../dict.txt"),
        lambda c: c.update(vocab_filename="/etc/passwd"),
        lambda c: c["bpe_tokenizer"].update(sentencepiece_model="/tmp/spm.model"),
        lambda c: c["bpe_tokenizer"].update(bpe="hf_byte_bpe"),
        lambda c: c.update(pre_tokenizer={"tokenizer": "theirs"}),
        lambda c: c.update(transforms={"*": ["${oc.env:HOME}"]}),
    ],
)
def test_speech_settings_name_nothing_outside(change, spoken):
    config = yaml.safe_load((spoken / "config.yaml").read_text())
    change(config)
    (spoken / "config.yaml").write_text(yaml.safe_dump(config))
    seal(spoken)
    with pytest.raises(UserError, match=r"config\.yaml"):
        load(spoken)


# --- the command


def test_the_forms_of_the_command(translation, tmp_path, here, monkeypatch):
    checkpoint = translation.run / "averaged.pt"
    here("export", "--format", "safetensors", tmp_path / "one", "--path", checkpoint)
    here("export", checkpoint, tmp_path / "two", "--format=safetensors", "--data", translation.data)
    assert (tmp_path / "one" / "SHA256SUMS").read_text() == (tmp_path / "two" / "SHA256SUMS").read_text()
    run = shutil.copytree(translation.run.parent, tmp_path / "moved")
    said = here("export", "--format", "safetensors", run / "b2t-2-2-abc")
    assert str(run / "b2t-2-2-abc" / "export-safetensors") in said
    assert load(run / "b2t-2-2-abc" / "export-safetensors").signature.startswith("connection:b2t|")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "safetensors"], "name a run or a checkpoint"),
        (["RUN", "OUT"], "--format"),
        (["RUN", "OUT", "--format", "onnx"], "onnx is not supported"),
        (["RUN", "OUT", "--format", "fsmt"], "FSMT is Post-LN alone"),
        (["RUN", "OUT", "--format", "pickle"], "invalid choice: 'pickle'"),
        (["RUN", "OUT", "--format", "safetensors", "--quantization", "int8"], "--quantization goes with"),
        (["RUN", "OUT", "--format", "ctranslate2", "--quantization", "int2"], "invalid choice"),
        (["RUN", "OUT", "--format", "safetensors", "--data", "nowhere"], "nowhere: no dict.en.txt"),
        (["RUN", "OUT", "--format", "safetensors", "--subwords", "nowhere"], "nowhere: no such file"),
        (["RUN", "OUT", "--format", "safetensors", "--subwords", __file__], "not the subwords of"),
        (["nowhere", "OUT", "--format", "safetensors"], "nowhere: no such file or folder"),
        (["RUN", "RUN", "--format", "safetensors"], "exists already"),
        (["RUN", "OUT", "--format", "ctranslate2"], "its feed-forward layer adds the layer's own input"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, said, translation, tmp_path, here):
    pytest.importorskip("ctranslate2", reason="the extra [export] is not installed")
    places = {"RUN": str(translation.run), "OUT": str(tmp_path / "out")}
    printed = here("export", *(places.get(word, word) for word in arguments), status=2)
    assert said in printed.splitlines()[-1] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["safetensors", "ctranslate2"])
def test_a_missing_package_is_one_line(form, translation, tmp_path, here, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, form, None)
    monkeypatch.setitem(__import__("sys").modules, f"{form}.torch", None)
    printed = here("export", translation.run, tmp_path / "out", "--format", form, status=2)
    assert f"need {form}" in printed and "b2t_fairseq[export]" in printed
