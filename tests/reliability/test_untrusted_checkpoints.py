"""A checkpoint from a stranger runs nothing, opens nothing and fills no memory, whatever command it is given to."""

import argparse
import io
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from end_to_end import NARROW, TRAINING, make_data
from fairseq import utils
from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from fairseq.logging import meters
from fairseq.models.transformer import TransformerModel
from numpy._core.multiarray import _reconstruct, scalar
from omegaconf import OmegaConf

from b2t_fairseq import UserError, cli
from b2t_fairseq.checkpoints import trust
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.checkpoints.plain_arrays import PlainArray, PlainType, reconstruct

LM = ("--arch", "transformer_lm_b2t_6", "--task", "language_modeling", "--tokens-per-sample", "32")
LM_SIZES = ("--decoder-layers", "2", "--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "24")
LM_PLAIN = ("--decoder-attention-heads", "2", "--decoder-input-dim", "16", "--decoder-output-dim", "16")
LM_CUTOFFS = ("--adaptive-input", "--adaptive-input-cutoff", "10,20", "--adaptive-softmax-cutoff", "10,20")
DECODE = ("--cpu", "--beam", "2", "--max-len-b", "8", "--num-workers", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a translation and a language model of two updates each."""
    folder = tmp_path_factory.mktemp("untrusted")
    data = make_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)
        assert (
            cli.main(["train", str(data), *NARROW, *TRAINING, "--max-update", "2", "--save-dir", str(folder / "mt")])
            == 0
        )
        texts = [f"--{split}pref={folder / split}.en" for split in ("train", "valid", "test")]
        assert cli.main(["preprocess", "--only-source", *texts, "--destdir", str(folder / "lm-bin")]) == 0
        sizes = (*LM, *LM_SIZES, *LM_PLAIN, *LM_CUTOFFS, "--criterion", "adaptive_loss", "--ddp-backend=legacy_ddp")
        training = ("--optimizer", "adam", "--lr", "0.003", "--max-tokens", "400", "--cpu", "--max-update", "2")
        lm = [*sizes, *training, "--num-workers", "0"]
        assert cli.main(["train", str(folder / "lm-bin"), *lm, "--save-dir", str(folder / "lm")]) == 0
    return folder


@pytest.fixture
def state(folder):
    """The translation model's checkpoint, to be changed."""
    return load_checkpoint(folder / "mt" / "checkpoint_last.pt")


@pytest.fixture(autouse=True)
def own_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    yield
    trust.trust_checkpoints(False)


@pytest.fixture
def command(folder, tmp_path, monkeypatch, capsys):
    """Give a checkpoint to one of the places that load one; status and last line of stderr."""

    def run(name: str, path: Path, *further: str) -> tuple[int, str]:
        capsys.readouterr()
        (tmp_path / "sources").write_text("a man sleeps\n")
        arguments = [str(a) for a in entry_points(folder, tmp_path, path)[name]]
        try:
            status = cli.main([*arguments, *further])
        except SystemExit as left:
            status = left.code
        lines = capsys.readouterr().err.strip().splitlines()
        return status, lines[-1] if lines else ""

    return run


def entry_points(folder: Path, here: Path, path: Path) -> dict[str, list]:
    good = folder / "mt" / "checkpoint_last.pt"
    data, train = folder / "bin", [*NARROW, *TRAINING, "--max-update", "3", "--save-dir", here / "saved"]
    return {
        "generate": ["generate", data, "--path", path, "--gen-subset", "test", *DECODE],
        "ensemble": ["generate", data, "--path", f"{good}:{path}", "--gen-subset", "test", *DECODE],
        "interactive": ["interactive", data, "--path", path, "--input", here / "sources", *DECODE],
        "validate": ["validate", data, "--path", path, "--valid-subset", "valid", "--max-tokens", "400", "--cpu"],
        "restore": ["train", data, *train, "--restore-file", path],
        "finetune": ["train", data, *train, "--finetune-from-model", path],
        "average": ["average-checkpoints", "--inputs", path, good, "--output", here / "average.pt"],
        "dlcl": ["dlcl-weights", "--path", path],
        "eval-lm": ["eval-lm", folder / "lm-bin", "--path", path, "--gen-subset", "test", "--cpu", *LM[2:]],
    }


DECODING = ("generate", "ensemble", "interactive", "validate")
LOADING = (*DECODING, "restore", "finetune", "average", "dlcl")


def save(state: dict, path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that `CODE` makes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"


CODE = "[__import__('os').system('touch ran') + 20, 40]"  # without a slash: what looks like a path is dropped earlier


class Attack:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.mark)],)


# --- what must keep working


@pytest.mark.parametrize("name", [*DECODING, "restore", "finetune", "average"])
def test_an_honest_checkpoint_works(name, command, folder):
    status, line = command(name, folder / "mt" / "checkpoint_last.pt")
    assert status in (0, None), line


def test_an_honest_language_model_works(command, folder):
    assert command("eval-lm", folder / "lm" / "checkpoint_last.pt")[0] in (0, None)


def test_from_pretrained_works(folder):
    hub = TransformerModel.from_pretrained(str(folder / "mt"), "checkpoint_last.pt", str(folder / "bin"))
    assert isinstance(hub.translate("a man sleeps", beam=1), str)


# --- 1. modules


def foreign_module(mark: Path, how: str, here: Path) -> dict:
    """Options of a checkpoint that name a module of its own."""
    file = here / "theirs.py"
    file.write_text(f"open({str(mark)!r}, 'w')\n")
    options = {"connection_module": str(file), "connection": "b2t"}
    if how == "unknown connection":
        options["connection"] = "theirs"
    if how == "unsigned":
        options["connection_signature"] = None
    if how == "unknown and unsigned":
        options |= {"connection": "theirs", "connection_signature": None}
    if how == "by name":
        options["connection_module"] = "theirs"
    return options


HOW = ("known connection", "unknown connection", "unsigned", "unknown and unsigned", "by name")


@pytest.mark.parametrize(
    ("name", "how"), [*(("generate", how) for how in HOW), *((name, HOW[i]) for name in DECODING[1:] for i in (0, 3))]
)
def test_a_module_that_a_checkpoint_names_is_not_imported(name, how, state, command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    mark = tmp_path / "ran"
    vars(state["cfg"]["model"]).update(foreign_module(mark, how, tmp_path))
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert not mark.exists()
    if "unknown" in how:
        assert status == 2 and line.startswith("error: ") and "--connection-module" in line
    else:
        assert status in (0, None), line


def test_from_pretrained_imports_no_module_of_a_checkpoint(state, folder, tmp_path):
    mark = tmp_path / "ran"
    vars(state["cfg"]["model"]).update(foreign_module(mark, "known connection", tmp_path))
    save(state, tmp_path / "evil.pt")
    TransformerModel.from_pretrained(str(tmp_path), "evil.pt", str(folder / "bin"))
    assert not mark.exists()


def test_a_trusted_checkpoint_imports_its_module(state, folder, command, tmp_path):
    mark = tmp_path / "ran"
    vars(state["cfg"]["model"]).update(foreign_module(mark, "known connection", tmp_path))
    path = save(state, tmp_path / "own.pt")
    assert command("generate", path, "--trust-checkpoint")[0] in (0, None) and mark.exists()
    mark.unlink()
    sys.modules.pop("b2t_connection_module_theirs")
    load_model_ensemble_and_task([str(path)], {"data": str(folder / "bin"), "trust_checkpoint": True})
    assert mark.exists()
    sys.modules.pop("b2t_connection_module_theirs")


# --- 2a. texts that fairseq evaluates


@pytest.mark.parametrize("name", DECODING)
def test_a_text_of_a_checkpoint_is_not_evaluated(name, state, command, tmp_path, mark):
    state["cfg"]["model"].adaptive_softmax_cutoff = CODE
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert status == 2 and "no code is run" in line and not mark.exists()


def test_a_text_of_a_language_model_is_not_evaluated(folder, command, tmp_path, mark):
    state = load_checkpoint(folder / "lm" / "checkpoint_last.pt")
    state["cfg"]["model"] |= {"adaptive_softmax_cutoff": CODE, "adaptive_input_cutoff": CODE}
    status, line = command("eval-lm", save(state, tmp_path / "evil.pt"))
    assert status == 2 and "no code is run" in line and not mark.exists()


@pytest.mark.parametrize("option", ["--adam-betas", "--adaptive-softmax-cutoff"])
def test_a_text_of_an_option_is_not_evaluated(option, folder, command, mark):
    status, line = command("restore", folder / "mt" / "checkpoint_last.pt", option, CODE)
    assert status == 2 and line.startswith("error: ") and not mark.exists()


def test_every_eval_of_fairseq_is_replaced():
    import re

    import fairseq

    root, replaced = Path(fairseq.__file__).parent, 0
    for path in root.rglob("*.py"):
        if "examples" in path.parts or not re.search(r"(?<![\w.])eval\(", path.read_text(encoding="utf-8")):
            continue
        module = ".".join(("fairseq", *path.relative_to(root).with_suffix("").parts))
        assert vars(sys.modules[module])["eval"] is not eval, module
        replaced += 1
    assert replaced > 15


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[20000, 60000]", [20000, 60000]),
        ("(0.9, 0.98)", (0.9, 0.98)),
        ("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)]", [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)]),
        ("True", True),
        ("{'a': 1}", {"a": 1}),
        ("-1e-3", -1e-3),
        ("2 * (3 + 4) - 1", 13),
        ("None", None),
    ],
)
def test_plain_values_are_read(text, value):
    from fairseq.models.fconv import eval as read

    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "().__class__",
        "f'{1}'",
        "'a' * 10**9",
        "'a' * 1000000000",
        "[0] * 9999 * 9999",
        "9" * 9000 + "*9",
        "(" * 500 + ")" * 500,
        "[" * 9999,
        "1 if True else 2",
        "open",
        "",
        "a := 1",
        "{**{}}",
    ],
)
def test_what_is_not_a_plain_value_is_refused(text):
    from fairseq.models.fconv import eval as read

    with pytest.raises(UserError, match="no code is run"):
        read(text)


def test_fairseqs_own_functions_read_as_before():
    assert utils.eval_str_list("[1, 2]", type=int) == [1, 2] and utils.eval_str_list("0.5") == [0.5]
    assert utils.eval_str_list(None) is None and utils.eval_str_list([1, 2], type=int) == [1, 2]
    assert utils.eval_bool("False") is False and utils.eval_bool("True") is True and utils.eval_bool(None) is False
    assert utils.eval_str_dict("{'a': 'b'}") == {"a": "b"}


# --- 2b. names of classes


@pytest.mark.parametrize(
    ("group", "change"),
    [
        ("model", {"_name": "wav2vec", "arch": "wav2vec", "conv_feature_layers": "[]"}),
        ("model", {"arch": "fconv", "_name": None}),
        ("task", {"_name": "multilingual_translation"}),
        ("criterion", {"_name": "ctc"}),
        ("bpe", {"_name": "gpt2", "gpt2_encoder_json": "http://localhost/x"}),
        ("tokenizer", {"_name": "nltk", "tokenizer": "gpt2"}),
    ],
)
def test_a_class_that_is_not_on_the_list_is_not_built(group, change, state, folder, tmp_path):
    part = state["cfg"][group]
    if isinstance(part, argparse.Namespace):
        vars(part).update(change)
    else:
        state["cfg"][group] = {**(part or {}), **change}
    path = save(state, tmp_path / "evil.pt")
    if group == "tokenizer":
        return  # nltk is on the list, and its further options name nothing that is looked for
    with pytest.raises(UserError, match=r"would run fairseq\..*--trust-checkpoint"):
        load_model_ensemble_and_task([str(path)], {"data": str(folder / "bin")})


def test_an_old_namespace_is_looked_through(state, folder, tmp_path, mark):
    state["args"] = argparse.Namespace(
        **{**vars(state["cfg"]["model"]), "task": "translation", "criterion": "ctc", "wer_args": CODE}
    )
    del state["cfg"]
    with pytest.raises(UserError, match="'ctc' would run"):
        load_model_ensemble_and_task([str(save(state, tmp_path / "old.pt"))], {"data": str(folder / "bin")})
    assert not mark.exists()


def test_the_task_of_the_command_line_counts(state, folder, command, tmp_path):
    state["cfg"]["task"]["_name"] = "translation_multi_simple_epoch"
    path = save(state, tmp_path / "other.pt")
    assert command("generate", path)[0] in (0, None)  # its task is the command line's
    status, line = command("validate", path)
    assert status == 2 and line


def test_a_class_of_the_users_own_is_built(state, folder, tmp_path):
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.criterions.cross_entropy import CrossEntropyCriterion
    from fairseq.registry import REGISTRIES

    mine = type("Mine", (CrossEntropyCriterion,), {"__module__": "my_user_dir"})
    REGISTRIES["criterion"]["registry"]["mine"] = mine
    try:
        state["cfg"]["criterion"] = {"_name": "mine"}
        load_model_ensemble_and_task([str(save(state, tmp_path / "mine.pt"))], {"data": str(folder / "bin")})
    finally:
        del CRITERION_REGISTRY["mine"]


# --- 2c. places


def test_places_are_dropped(state, folder, tmp_path):
    state["cfg"]["model"].encoder_embed_path = state["cfg"]["model"].decoder_embed_path = "/dev/zero"
    state["cfg"]["bpe"] = {"_name": "sentencepiece", "sentencepiece_model": "/etc/passwd"}
    state["cfg"]["common"]["user_dir"] = str(tmp_path)
    state["cfg"]["generation"]["replace_unk"] = "/dev/zero"
    path = str(save(state, tmp_path / "evil.pt"))
    _, cfg, _ = load_model_ensemble_and_task([path], {"data": str(folder / "bin")})
    assert cfg.model.encoder_embed_path is None and cfg.common.user_dir is None and cfg.generation.replace_unk is None
    assert "sentencepiece_model" not in cfg.bpe and cfg.task.data == str(folder / "bin")


def test_places_that_are_given_count(state, folder, tmp_path):
    state["cfg"]["bpe"] = {"_name": "sentencepiece", "sentencepiece_model": "theirs"}
    path, mine = str(save(state, tmp_path / "evil.pt")), str(tmp_path / "mine")
    given = {"data": str(folder / "bin"), "sentencepiece_model": mine, "encoder_embed_path": None}
    assert load_model_ensemble_and_task([path], given)[1].bpe.sentencepiece_model == mine


def test_the_data_folder_must_be_given(folder):
    path = str(folder / "mt" / "checkpoint_last.pt")
    with pytest.raises(UserError, match="name the data folder"):
        load_model_ensemble_and_task([path])
    load_model_ensemble_and_task([path], {"trust_checkpoint": True})


@pytest.mark.parametrize("group", ["model", "task", "bpe", "common", "generation"])
@pytest.mark.parametrize("value", ["/dev/zero", "../x", "~/x", "http://x/y", "${oc.env:HOME}", "a\\b"])
def test_any_option_that_looks_like_a_place_is_dropped(group, value, state):
    part = state["cfg"][group] = state["cfg"].get(group) or {}
    fields = vars(part) if isinstance(part, argparse.Namespace) else part
    fields |= {"some_option": value, "some_list": ["plain", value]}
    trust.sanitise(state, "evil.pt", {})
    assert not fields.get("some_option") and not fields.get("some_list")


# --- 3. numpy


class Type:
    """A numpy data type with a field of the file's choice."""

    def __init__(self, kind: str, offset: int):
        self.kind, self.offset = kind, offset

    def __reduce__(self):
        fields = {"a": (np.dtype(self.kind), self.offset)}
        return np.dtype, ("V8", False, True), (3, "|", None, ("a",), fields, 8, 1, 63)


class Call:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


EMPTY = (np.ndarray, (0,), b"b")
F8 = np.dtype("f8")
MEMORY = {
    "object field": Call(_reconstruct, EMPTY, (1, (4,), Type("O", 1 << 20), False, [(None,)] * 4)),
    "far field": Call(_reconstruct, EMPTY, (1, (4,), Type("i8", 4096), False, bytes(32))),
    "scalar far field": Call(scalar, (Type("i8", 4096), bytes(8))),
    "object": Call(_reconstruct, EMPTY, (1, (1,), np.dtype("O"), False, [None])),
    "text": np.array(["a"]),
    "too few bytes": Call(_reconstruct, EMPTY, (1, (1 << 40,), F8, False, bytes(8))),
    "too many bytes": Call(_reconstruct, EMPTY, (1, (1,), F8, False, bytes(16))),
    "negative": Call(_reconstruct, EMPTY, (1, (-1,), F8, False, b"")),
    "overflow": Call(_reconstruct, EMPTY, (1, (1 << 33, 1 << 33), F8, False, b"")),
    "by hand": Call(np.ndarray, (1 << 46,)),
    "by hand, strides": Call(np.ndarray, ((4,), F8, b"x" * 8, 0, (1 << 20,))),
    "scalar": Call(scalar, (F8, bytes(4))),
    "unfilled": Call(np.dtype, ("O", False, True)),
    "enormous text": Call(bytes, (1 << 40,)),
}


@pytest.mark.parametrize("load", [load_checkpoint, lambda path: load_checkpoint_to_cpu(str(path))])
@pytest.mark.parametrize("payload", MEMORY)
def test_numpy_reads_only_its_numbers(payload, load, tmp_path):
    path = save({"model": {}, "extra_state": MEMORY[payload]}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt") as refusal:
        load(path)
    assert "\n" not in str(refusal.value) and "weights_only" not in str(refusal.value)


def test_an_array_is_filled_once():
    """A tensor that shares its memory would otherwise be left with what was freed."""
    array, content = reconstruct(PlainArray, (0,), b"b"), (1, (2,), PlainType("f8"), False, bytes(16))
    array.__setstate__(content)
    with pytest.raises(pickle.UnpicklingError):
        array.__setstate__(content)
    assert array.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("payload", ["object field", "far field"])
@pytest.mark.parametrize("name", LOADING)
def test_every_command_survives_numpy(name, payload, state, command, tmp_path):
    state["extra_state"]["x"] = MEMORY[payload]
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert status == 2 and line.startswith("error: ") and "evil.pt" in line


def test_numbers_of_meters_load_and_are_saved_as_numpys(state, tmp_path):
    meter = meters.AverageMeter()
    meter.update(np.array([1, 2]), n=np.int64(2))
    state["extra_state"]["metrics"] = {"bleu": meter, "counts": np.arange(4.0).reshape(2, 2).T, "n": np.float32(1.5)}
    path = save(state, tmp_path / "bleu.pt")
    for loaded in (load_checkpoint(path), load_checkpoint_to_cpu(str(path))):
        found = loaded["extra_state"]["metrics"]
        assert found["counts"].tolist() == [[0.0, 2.0], [1.0, 3.0]] and found["n"] == np.float32(1.5)
        assert found["bleu"].avg.tolist() == [1.0, 2.0]
    again = save(load_checkpoint(path), tmp_path / "again.pt")
    with zipfile.ZipFile(again) as archive:
        pickled = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert b"plain_arrays" not in pickled and b"numpy" in pickled


@pytest.mark.parametrize("name", LOADING)
def test_code_in_a_pickle_is_not_run(name, state, command, tmp_path):
    mark = tmp_path / "ran"
    state["extra_state"]["x"] = Attack(mark)
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert status == 2 and line.startswith("error: ") and not mark.exists()


def test_damaged_pickles_are_one_line(state, tmp_path):
    """Bytes of the pickle changed at random: a state that loads, or one line."""
    buffer = io.BytesIO()
    del state["model"], state["last_optimizer_state"]
    state["model"], state["extra_state"]["n"] = {}, np.arange(3)
    torch.save(state, buffer)
    draw = random.Random(7)
    with zipfile.ZipFile(buffer) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    refused = 0
    for _ in range(150):
        content = bytearray(members[pickled])
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path = tmp_path / "fuzz.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in {**members, pickled: bytes(content)}.items():
                archive.writestr(name, data)
        try:
            load_checkpoint(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


# --- 6. small files without a limit


def nested(levels: int) -> list:
    value = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("name", "levels"), [("generate", 400), *((name, 40) for name in (*DECODING, "restore", "finetune"))]
)
def test_nested_options_are_refused(name, levels, state, command, tmp_path):
    state["cfg"]["common"]["x"] = nested(levels)
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert status == 2 and "nested" in line


def test_options_that_contain_themselves_are_refused(state):
    state["cfg"]["common"]["x"] = state["cfg"]
    with pytest.raises(UserError, match="nested"):
        trust.check_bounds(state, "evil.pt")


@pytest.mark.parametrize("options", ["text", 3, ["a"], {"model": 3}])
def test_options_of_another_kind_are_one_line(options, state, folder, tmp_path):
    state["cfg"] = options
    with pytest.raises(UserError, match="not names and values"):
        load_model_ensemble_and_task([str(save(state, tmp_path / "evil.pt"))], {"data": str(folder / "bin")})


def test_options_as_objects_of_omegaconf_load(state, folder, tmp_path):
    state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
    path = save(state, tmp_path / "old.pt")
    load_model_ensemble_and_task([str(path)], {"data": str(folder / "bin")})


@pytest.mark.parametrize("name", LOADING)
def test_a_compressed_archive_is_refused(name, state, command, tmp_path):
    path, packed = save(state, tmp_path / "plain.pt"), tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in plain.namelist():
            archive.writestr(member, plain.read(member))
    status, line = command(name, packed)
    assert status == 2 and "compressed inside" in line


def test_a_tensor_larger_than_its_storage_is_refused(state, tmp_path):
    state["model"]["x"] = torch.zeros(1).expand(1 << 40)
    with pytest.raises(UserError, match="larger than what was stored"):
        load_checkpoint(save(state, tmp_path / "evil.pt"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("encoder_layers", 10**7),
        ("decoder_layers", 10**7),
        ("encoder_embed_dim", 2**24),
        ("decoder_ffn_embed_dim", 2**24),
        ("decoder_output_dim", 2**24),
        ("max_source_positions", 10**9),
        ("decoder_attention_heads", 10**9),
        ("conv_kernel_sizes", "5,999999999"),
    ],
)
def test_sizes_unlike_the_weights_are_refused(option, value, state, command, tmp_path):
    setattr(state["cfg"]["model"], option, value)
    status, line = command("generate", save(state, tmp_path / "evil.pt"))
    assert status == 2 and option in line and str(value).split(",")[-1] in line


def test_sizes_of_a_language_model_are_checked(folder, command, tmp_path):
    state = load_checkpoint(folder / "lm" / "checkpoint_last.pt")
    state["cfg"]["model"]["decoder_layers"] = 10**7
    status, line = command("eval-lm", save(state, tmp_path / "evil.pt"))
    assert status == 2 and "decoder_layers" in line
