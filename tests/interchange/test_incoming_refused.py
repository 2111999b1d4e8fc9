"""Checkpoints of other codes that are refused, and files that are none of theirs: one line each, nothing written."""

from argparse import Namespace

import foreign_files
import pytest
import torch
from builders import dictionary
from fairseq import checkpoint_utils
from old_checkpoints import make_data

from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.interchange.incoming.conversion import convert


@pytest.fixture
def data(tmp_path):
    return foreign_files.save_dictionaries(tmp_path / "data")


REFUSED = {
    "one of --encoder-normalize-before": lambda: foreign_files.b2t("post", theirs={"encoder_normalize_before": True}),
    "adds the bottom to a Pre-LN stream": lambda: foreign_files.b2t("pre", theirs={"residual_bottom_to_top": True}),
    "none of our connections is": lambda: foreign_files.b2t("pre", theirs={"no_layer_norm": True}),
    "--no-decoder-final-norm leaves": lambda: foreign_files.b2t(
        "b2t_no_ln", "final_norm=true", theirs={"no_decoder_final_norm": True}),
    "--one-emb binary": lambda: foreign_files.b2t(theirs={"one_emb": "binary"}),
    "--represent-length-by-lrpe": lambda: foreign_files.b2t(theirs={"represent_length_by_lrpe": True}),
    "--represent-length-by-ldpe": lambda: foreign_files.b2t(theirs={"represent_length_by_ldpe": True}),
    "--cross-self-attention": lambda: foreign_files.b2t(theirs={"cross_self_attention": True}),
    "--layer-wise-attention": lambda: foreign_files.b2t(theirs={"layer_wise_attention": True}),
    "--character-embeddings": lambda: foreign_files.b2t_language_model(theirs={"character_embeddings": True}),
    "--arch transformer_wmt_en_de_big_align": lambda: foreign_files.b2t(
        theirs={"arch": "transformer_wmt_en_de_big_align"}),
    "do not say --encoder-layers": lambda: foreign_files.b2t(theirs={"encoder_layers": "three"}),
    "do not say --encoder-layers as a whole number": lambda: foreign_files.b2t(theirs={"encoder_layers": None}),
    "do not say --encoder-attention-heads": lambda: foreign_files.b2t(theirs={"encoder_attention_heads": None}),
    "do not say --decoder-attention-heads": lambda: foreign_files.b2t_language_model(
        theirs={"decoder_attention_heads": -1}),
    "model.enc_alpha=2": lambda: foreign_files.residual(theirs={"enc_alpha": 2}),
    "--weight-type vector": lambda: foreign_files.dlcl(theirs={"weight_type": "vector"}),
    "--normalize-learned-weight": lambda: foreign_files.dlcl(theirs={"normalize_learned_weight": True}),
    "--normalize-embed": lambda: foreign_files.dlcl(theirs={"normalize_embed": True}),
    "--history-window-size 2": lambda: foreign_files.dlcl(theirs={"history_window_size": 2}),
    "--encoder-history-type dense": lambda: foreign_files.dlcl(theirs={"encoder_history_type": "dense"}),
    "--arch simple_dlcl_transformer": lambda: foreign_files.dlcl(theirs={"arch": "simple_dlcl_transformer"}),
    "ours has one number for each of 5 x 5": lambda: foreign_files.dlcl(theirs={"encoder_layers": 4}),
    "--init-type rezero": lambda: foreign_files.admin("post", theirs={"init_type": "rezero"}),
    "--init-type looklinear": lambda: foreign_files.admin("post", theirs={"init_type": "looklinear"}),
    "not adaptive": lambda: foreign_files.admin(theirs={"init_type": "default"}),
    "which has 4 layers": lambda: foreign_files.admin(theirs={"encoder_layers": 4}),
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused(line, tmp_path, here):
    path = foreign_files.saved(REFUSED[line]()[1], tmp_path)
    said = here("convert", path, tmp_path / "ours.pt", status=2)
    assert str(path) in said and line in said and said.count("error:") == 1
    assert not (tmp_path / "ours.pt").exists()
    with pytest.raises(UserError, match=r"it cannot be converted") as error:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", [
    "decoder.embed_positions_lrpe._float_tensor", "encoder.embed_tokens.weight_matrices.0",
    "encoder.layers.0.rezero_weight", "encoder.layers.connection_of_mine",
])  # fmt: skip
def test_weights_that_ours_do_not_have_are_refused(name, tmp_path, here):
    _, checkpoint = foreign_files.b2t()
    checkpoint["model"][name] = torch.zeros(1)
    path = foreign_files.saved(checkpoint, tmp_path)
    assert f"{path}: it holds {name}" in here("convert", path, tmp_path / "ours.pt", status=2)
    with pytest.raises(UserError, match=r"which our models do not have"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_dlcl_with_one_combination_is_refused():
    _, checkpoint = foreign_files.dlcl()
    checkpoint["model"] = {name: x for name, x in checkpoint["model"].items() if "decoder.history" not in name}
    with pytest.raises(UserError, match=r"only one of encoder and decoder"):
        convert(checkpoint, "x.pt")


def test_weights_without_options_are_refused():
    _, checkpoint = foreign_files.b2t()
    with pytest.raises(UserError, match=r"x\.pt: it holds no options"):
        convert({**checkpoint, "args": None}, "x.pt")


def test_options_and_weights_of_different_models_are_refused(tmp_path, here):
    _, checkpoint = foreign_files.b2t()
    missing = dict(checkpoint["model"])
    del missing["encoder.layers.1.fc1.bias"]
    for state, said in (
        (missing, "encoder.layers.1.fc1.bias"),
        (foreign_files.b2t("b2t_no_ln")[1]["model"], "layer_norm"),
    ):
        path = foreign_files.saved({**checkpoint, "model": state}, tmp_path)
        line = here("convert", path, tmp_path / "ours.pt", status=2)
        assert str(path) in line and said in line and "do not belong together" in line
        assert not (tmp_path / "ours.pt").exists()


@pytest.mark.parametrize("part", ["optimizer_history", "extra_state"])
def test_a_file_without_a_part_that_fairseq_reads_is_refused(part, tmp_path, here):
    _, checkpoint = foreign_files.b2t()
    del checkpoint[part]
    path = foreign_files.saved(checkpoint, tmp_path)
    assert f"{path}: not a whole fairseq checkpoint (no '{part}' in it)" in here(
        "convert", path, tmp_path / "ours.pt", status=2
    )
    with pytest.raises(UserError, match=f"no '{part}' in it"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_files_that_are_not_written(tmp_path, here):
    path = foreign_files.saved(foreign_files.b2t()[1], tmp_path)
    content = path.read_bytes()
    (tmp_path / "link.pt").symlink_to(path)
    for target in (path, tmp_path / "link.pt"):
        assert "is the file to convert" in here("convert", path, target, status=2)
    assert "is a folder" in here("convert", path, tmp_path, status=2)
    assert path.read_bytes() == content
    assert "no such checkpoint file" in here("convert", tmp_path / "nothing.pt", tmp_path / "x.pt", status=2)
    (tmp_path / "old.pt").write_bytes(b"old")
    here("convert", path, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt")["args"].connection == "b2t"


@pytest.mark.parametrize("damage", [lambda x: x[: len(x) // 2], lambda x: b"", lambda x: b"text" * 500])
def test_damaged_files_are_one_line(damage, tmp_path, here):
    path = foreign_files.saved(foreign_files.b2t()[1], tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    said = here("convert", path, tmp_path / "ours.pt", status=2)
    assert str(path) in said and "Traceback" not in said
    assert list(tmp_path.glob("ours*")) == []


def test_other_files_are_not_converted(tmp_path, data, here):
    path = foreign_files.saved(foreign_files.b2t()[1], tmp_path)
    here("convert", path, tmp_path / "ours.pt")
    assert "is one of ours already" in here("convert", tmp_path / "ours.pt", tmp_path / "x.pt", status=2)
    stock = foreign_files.checkpoint({}, {**foreign_files.COMMON, **foreign_files.SIZES, "arch": "transformer"})
    assert "is fairseq's own" in here("convert", foreign_files.saved(stock, tmp_path), tmp_path / "x.pt", status=2)
    stock["args"] = Namespace(arch="lstm")
    said = here("convert", foreign_files.saved(stock, tmp_path), tmp_path / "x.pt", status=2)
    assert "not of a code that can be converted" in said


def test_another_vocabulary_is_refused(tmp_path, data, here):
    path = foreign_files.saved(foreign_files.b2t()[1], tmp_path)
    assert "no such folder" in here("convert", path, tmp_path / "x.pt", "--data", tmp_path / "no", status=2)
    (tmp_path / "empty").mkdir()
    assert "dict.en.txt" in here("convert", path, tmp_path / "x.pt", "--data", tmp_path / "empty", status=2)
    here("convert", path, tmp_path / "ours.pt", "--data", data)
    words = dictionary()
    words.add_symbol("one more")
    words.save(str(data / "dict.de.txt"))
    said = here("convert", path, tmp_path / "x.pt", "--data", data, status=2)
    assert "51 words" in said and "embeddings of 50 (decoder)" in said
    dictionary(45).save(str(data / "dict.en.txt"))
    with pytest.raises(UserError, match=r"has another vocabulary"):
        foreign_files.loaded(tmp_path / "ours.pt", data)


def test_a_file_cannot_name_a_module_to_import(tmp_path, here):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    evil = {"connection_module": str(tmp_path / "evil.py"), "connection": "evil", "encoder_embed_path": "/etc/passwd"}
    path = foreign_files.saved(foreign_files.b2t(theirs=evil)[1], tmp_path)
    here("convert", path, tmp_path / "ours.pt")
    assert not hasattr(load_checkpoint(tmp_path / "ours.pt")["args"], "connection_module")


@pytest.mark.parametrize("make", [foreign_files.b2t, foreign_files.residual, foreign_files.admin])
def test_a_training_is_refused(make, tmp_path, here):
    make_data(tmp_path / "data")
    path = foreign_files.saved(make()[1], tmp_path)
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in foreign_files.SIZES.items()]
    train = ("train", tmp_path / "data", "--arch", "transformer_post_6_6", *sizes, "--max-tokens", "60", "--cpu",
             "--optimizer", "adam", "--lr", "0.01", "--max-update", "1", "--save-dir", tmp_path / "run")  # fmt: skip
    for option in ("--restore-file", "--finetune-from-model"):
        said = here(*train, option, path, status=2)
        assert f"{path} is a checkpoint of the " in said and f"own code: b2t-fairseq convert {path} OUT" in said
    if make is foreign_files.b2t:
        here("convert", path, tmp_path / "ours.pt", "--data", tmp_path / "data")
        b2t = ["transformer_b2t_6_6" if x == "transformer_post_6_6" else x for x in train]
        reset = ("--reset-optimizer", "--reset-dataloader", "--reset-meters")
        assert "num_updates 1" in here(*b2t, "--restore-file", tmp_path / "ours.pt", *reset).replace("updates: 1", "")


def test_their_options_are_explained(here):
    said = here("train", "data", "--arch", "transformer_b2t_6_6", "--residual-bottom-to-top", "--no-layer-norm",
                "--sampling-method", "worddrop", "--enc-replace-rate", "0.1", "--min-lr", "1e-9", status=2)  # fmt: skip
    assert "--residual-bottom-to-top is --arch transformer_b2t_" in said and "--min-lr is --stop-min-lr" in said
    assert (
        "--no-layer-norm is --connection b2t_no_ln" in said and "--enc-replace-rate is --encoder-word-dropout" in said
    )
    assert "authors" not in here("train", "data", "--arch", "transformer_b2t_6_6", "--no-layer-norms", status=2)
