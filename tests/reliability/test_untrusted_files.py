"""The file of a checkpoint from a stranger runs no code, reaches no memory of others and fills none, in any command."""

import io
import pickle
import random
import subprocess
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import build, build_language_model, build_speech
from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from fairseq.logging import meters
from numpy._core.multiarray import _reconstruct, scalar
from omegaconf import OmegaConf
from reliability.strangers import DECODING, LOADING, save

from b2t_fairseq import UserError
from b2t_fairseq.checkpoints import trust
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.checkpoints.plain_arrays import PlainArray, PlainType, reconstruct


class Attack:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.mark)],)


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


@pytest.mark.parametrize(
    ("arch", "make", "sizes"),
    [
        ("transformer_b2t_6_6", build, {"encoder_layers": 3, "decoder_layers": 2, "encoder_embed_dim": 32}),
        ("s2t_transformer_b2t_6_6", build_speech, {"encoder_layers": 3, "decoder_layers": 2, "conv_channels": 16}),
        ("transformer_lm_b2t", build_language_model, {"decoder_layers": 3, "decoder_embed_dim": 32}),
    ],
)
def test_sizes_of_the_weights_are_taken_for_every_kind_of_model(arch, make, sizes):
    weights = make(arch).state_dict()
    trust.check_sizes(Namespace(arch=arch, **sizes), weights, "good.pt")
    for name in sizes:
        with pytest.raises(UserError, match=f"its {name} is"):
            trust.check_sizes(Namespace(arch=arch, **{**sizes, name: 5000}), weights, "evil.pt")
    shared = {"share_layers": "cycle", "unique_layers": 1}
    trust.check_sizes(Namespace(arch=arch, **{**sizes, "decoder_layers": 12}, **shared), weights, "good.pt")
    with pytest.raises(UserError, match="its decoder_layers is"):
        trust.check_sizes(Namespace(arch=arch, **{**sizes, "decoder_layers": 5000}, **shared), weights, "evil.pt")
