"""Checkpoints of other codes: what they become, what is refused, and where they load without being converted."""

import hashlib
import logging
from argparse import Namespace
from types import SimpleNamespace

import foreign_files
import pytest
import torch
from builders import batch, dictionary
from fairseq import checkpoint_utils
from fairseq.models import build_model
from fairseq.models.transformer import TransformerModel
from old_checkpoints import make_data

from b2t_fairseq import load
from b2t_fairseq.average_checkpoints import average
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.checkpoints.signature import signature_of
from b2t_fairseq.checkpoints.vocabulary import describe
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.interchange.incoming.conversion import convert, read

WIDE = {"encoder_embed_dim": 32, "decoder_embed_dim": 16, "decoder_output_dim": 24}
#: what -> how it is made, the connection and its init as the signature has them
TRANSLATIONS = {
    **{
        f"b2t code, {connection} {options}": (
            lambda c=connection, o=options: foreign_files.b2t(c, o),
            connection + (f"({options})" if options else ""),
            "rescale" if "b2t" in connection else "default",
        )
        for connection, options in foreign_files.METHODS
    },
    "b2t code, learned positions": (
        lambda: foreign_files.b2t(encoder_learned_pos=True, decoder_learned_pos=True), "b2t", "rescale"),
    "b2t code, tied": (lambda: foreign_files.b2t(share_all_embeddings=True), "b2t", "rescale"),
    "b2t code, other widths": (lambda: foreign_files.b2t("b2t_no_ln", **WIDE), "b2t_no_ln", "rescale"),
    "b2t code, norm on the embedding": (
        lambda: foreign_files.b2t(layernorm_embedding=True, no_scale_embedding=True), "b2t", "rescale"),
    "b2t code, adaptive softmax": (lambda: foreign_files.b2t(adaptive_softmax_cutoff="10,20"), "b2t", "rescale"),
    "resi_dual": (foreign_files.residual, "resi_dual", "default"),
    "dlcl_pre": (foreign_files.dlcl, "dlcl_pre", "default"),
    "dlcl_post": (lambda: foreign_files.dlcl("dlcl_post"), "dlcl_post", "default"),
    "dlcl_pre, older": (lambda: foreign_files.dlcl(older=True), "dlcl_pre", "default"),
    "dlcl's code, pre": (lambda: foreign_files.dlcl("pre"), "pre", "default"),
    "admin": (foreign_files.admin, "admin", "admin"),
    "admin, other widths": (lambda: foreign_files.admin(**WIDE), "admin", "admin"),
    "admin's code, deepnet": (lambda: foreign_files.admin("deepnet"), "deepnet", "deepnet"),
    "admin's code, pre": (lambda: foreign_files.admin("pre"), "pre", "default"),
    "tfixup": (foreign_files.tfixup, "tfixup", "tfixup"),
    "tfixup's code, post": (lambda: foreign_files.tfixup("post"), "post", "default"),
}  # fmt: skip
LANGUAGE_MODELS = {
    "adaptive": ({}, "b2t"),
    "plain": ({"adaptive_input": False, "adaptive_softmax_cutoff": None, "adaptive_input_cutoff": None,
               "tie_adaptive_weights": False, "tie_adaptive_proj": False}, "b2t"),
    "learned": ({"decoder_learned_pos": True}, "b2t"),
    "pre": ({"connection": "pre"}, "pre"),
    "no final norm": ({"connection": "pre", "no_decoder_final_norm": True}, "pre(final_norm=false)"),
    "no norms": ({"connection": "b2t_no_ln", "options": "final_norm=true"}, "b2t_no_ln(final_norm=true)"),
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    return foreign_files.save_dictionaries(tmp_path / "data")


def saved(checkpoint, folder, name="theirs.pt"):
    torch.save(checkpoint, folder / name)
    return folder / name


def loaded(path, data):
    overrides = {"data": str(data), "plasma_path": "/tmp/plasma"}
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides=overrides)
    return model.eval()


def built(checkpoint):
    """The model of a checkpoint, without hydra, which takes seconds."""
    options = checkpoint["cfg"]["model"] if checkpoint["args"] is None else vars(checkpoint["args"])
    words = dictionary()
    model = build_model(Namespace(**options), SimpleNamespace(source_dictionary=words, target_dictionary=words))
    model.load_state_dict(checkpoint["model"], strict=True)
    return model.eval(), Namespace(**options)


def outputs(model):
    source, target = batch()
    with torch.no_grad():
        out = model(source, None, target) if hasattr(model, "encoder") else model(target)
        return model.get_normalized_probs(out, log_probs=True)


def assert_same(model, checkpoint, signature):
    ours, _ = built(checkpoint)
    assert torch.equal(outputs(ours), outputs(model))
    assert ours.signature.startswith(signature), ours.signature
    assert signature_of(checkpoint) == ours.signature


@pytest.mark.parametrize("what", TRANSLATIONS)
def test_translation_models_load_and_are_converted(what, tmp_path, data, here):
    make, connection, init = TRANSLATIONS[what]
    model, checkpoint = make()
    signature = f"connection:{connection}|init:{init}|layers:3-2|"
    path, ours = saved(checkpoint, tmp_path), tmp_path / "new" / "ours.pt"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same(model, read(path), signature)
    assert signature in here("convert", path, ours, "--data", data)
    assert before == hashlib.sha256(path.read_bytes()).hexdigest()
    state = read(ours)
    assert_same(model, state, signature)
    assert state["last_optimizer_state"] is None
    options = state["cfg"]["model"] if state["args"] is None else vars(state["args"])
    assert options["vocabulary"] == describe(dictionary())
    left = {
        *foreign_files.B2T,
        "encoder_normalize_before",
        "decoder_normalize_before",
        "init_type",
        "Tfixup",
        "encoder",
    }
    left -= {"cross_self_attention", "layer_wise_attention", "encoder_layers_to_keep", "decoder_layers_to_keep"}
    assert left.isdisjoint(options)


@pytest.mark.parametrize("what", LANGUAGE_MODELS)
def test_language_models_load_and_are_converted(what, tmp_path, here):
    options, connection = LANGUAGE_MODELS[what]
    model, checkpoint = foreign_files.b2t_language_model(**options)
    init = "rescale" if "b2t" in connection else "default"
    signature = f"connection:{connection}|init:{init}|layers:3|"
    path = saved(checkpoint, tmp_path)
    assert_same(model, read(path), signature)
    assert signature in here("convert", path, tmp_path / "ours.pt")
    assert_same(model, read(tmp_path / "ours.pt"), signature)


@pytest.mark.parametrize("what", ["b2t code, b2t ", "resi_dual", "dlcl_pre", "admin", "tfixup", "language model"])
def test_fairseq_loads_them_without_conversion(what, tmp_path, data, caplog):
    make = TRANSLATIONS[what][0] if what in TRANSLATIONS else foreign_files.b2t_language_model
    model, checkpoint = make()
    path = saved(checkpoint, tmp_path)
    caplog.set_level(logging.INFO)
    assert torch.equal(outputs(loaded(path, data)), outputs(model))
    assert sum(f"{path}: of the " in line and "converted in memory" in line for line in caplog.messages) == 1


def test_dropout_rates_become_ours():
    rates = {"sampling_method": "worddrop", "enc_replace_rate": 0.2, "dec_replace_rate": 0.3}
    _, options = built(convert(foreign_files.b2t(theirs=rates)[1], "x.pt").checkpoint)
    assert (options.encoder_word_dropout, options.decoder_word_dropout) == (0.2, 0.3)
    other = convert(foreign_files.b2t(theirs={**rates, "sampling_method": "uniform"})[1], "x.pt")
    assert other.checkpoint["args"].encoder_word_dropout == other.checkpoint["args"].decoder_word_dropout == 0
    assert any("--sampling-method uniform is left out" in note for note in other.notes)
    model, _ = built(convert(foreign_files.dlcl()[1], "x.pt").checkpoint)
    assert model.encoder.layers[0].activation_dropout_module.p == 0.2  # relu_dropout


def test_a_missing_option_was_not_given():
    """Another fork of fairseq 0.9 has their positions, but not all of their options."""
    _, checkpoint = foreign_files.b2t("pre")
    for name in ("residual_bottom_to_top", "no_layer_norm", "sampling_method"):
        delattr(checkpoint["args"], name)
    assert convert(checkpoint, "x.pt").signature.startswith("connection:pre|init:default|")


def test_label_smoothing_keeps_its_loss():
    """Of V words the right one had a share of the smoothing in fairseq 0.9, and has none today."""
    log_probs = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    target = torch.arange(7)
    nll, smooth = -log_probs[torch.arange(7), target], -log_probs.sum(-1)
    theirs = 0.9 * nll + 0.1 / 50 * smooth
    epsilon = convert(foreign_files.b2t()[1], "x.pt").checkpoint["args"].label_smoothing
    ours = (1 - epsilon - epsilon / 49) * nll + epsilon / 49 * smooth
    assert epsilon != 0.1 and torch.allclose(ours, theirs, rtol=1e-6)


def test_the_user_says_how_a_model_was_initialised(tmp_path, here):
    path = saved(foreign_files.b2t()[1], tmp_path)
    assert "|init:rescale|" in here("convert", path, tmp_path / "ours.pt")
    assert "|init:default|" in here("convert", path, tmp_path / "ours.pt", "--init", "default")
    post = saved(foreign_files.b2t("post")[1], tmp_path, "post.pt")
    assert "--init rescale" in here("convert", post, tmp_path / "x.pt", "--init", "rescale", status=2)


@pytest.mark.parametrize("has_key", [True, False])
@pytest.mark.parametrize(("connection", "options"), foreign_files.METHODS)
def test_b2t_is_never_taken_for_post(connection, options, has_key, tmp_path):
    """Their weights have the same names; also where the one name that differs is missing."""
    model, checkpoint = foreign_files.b2t(connection, options)
    if not has_key:
        del checkpoint["model"]["decoder.embed_positions_original._float_tensor"]
    label = connection + (f"({options})" if options else "")
    assert signature_of(checkpoint).startswith(f"connection:{label}|layers:3-2|")
    path = saved(checkpoint, tmp_path)
    assert_same(model, read(path), f"connection:{label}|init:")
    assert signature_of(average([path])).startswith(f"connection:{label}|init:")


def test_what_is_none_of_ours_is_not_labelled_post():
    _, checkpoint = foreign_files.b2t("pre", theirs={"residual_bottom_to_top": True})
    assert signature_of(checkpoint).startswith("connection:none of ours|")
    assert signature_of(foreign_files.admin()[1]) is None
    assert signature_of(foreign_files.tfixup()[1]) is None


def test_averages_are_of_ours(tmp_path):
    first, second = (foreign_files.b2t(seed=seed) for seed in (1, 2))
    paths = [saved(checkpoint, tmp_path, f"{i}.pt") for i, (_, checkpoint) in enumerate((first, second))]
    state = average(paths)
    expected = (first[0].encoder.layers[1].fc1.weight + second[0].encoder.layers[1].fc1.weight) / 2
    assert torch.equal(state["model"]["encoder.layers.1.fc1.weight"], expected)
    assert built(state)[0].signature.startswith("connection:b2t|init:rescale|")
    post = saved(foreign_files.b2t("post")[1], tmp_path, "post.pt")
    with pytest.raises(UserError, match="hold different models"):
        average([paths[0], post])


def test_from_pretrained(tmp_path, data):
    model, checkpoint = foreign_files.b2t()
    saved(checkpoint, tmp_path)
    hub = TransformerModel.from_pretrained(str(tmp_path), "theirs.pt", str(data))
    assert torch.equal(outputs(hub.models[0]), outputs(model))


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
    path = saved(REFUSED[line]()[1], tmp_path)
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
    path = saved(checkpoint, tmp_path)
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
        path = saved({**checkpoint, "model": state}, tmp_path)
        line = here("convert", path, tmp_path / "ours.pt", status=2)
        assert str(path) in line and said in line and "do not belong together" in line
        assert not (tmp_path / "ours.pt").exists()


@pytest.mark.parametrize("part", ["optimizer_history", "extra_state"])
def test_a_file_without_a_part_that_fairseq_reads_is_refused(part, tmp_path, here):
    _, checkpoint = foreign_files.b2t()
    del checkpoint[part]
    path = saved(checkpoint, tmp_path)
    assert f"{path}: not a whole fairseq checkpoint (no '{part}' in it)" in here(
        "convert", path, tmp_path / "ours.pt", status=2
    )
    with pytest.raises(UserError, match=f"no '{part}' in it"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


@pytest.mark.parametrize("converted", [False, True])
def test_a_language_model_is_loaded_by_its_folder(converted, tmp_path, here):
    """Its file names the task as fairseq before 0.10 does, and its data has one dictionary."""
    model, checkpoint = foreign_files.b2t_language_model()
    (tmp_path / "data-bin").mkdir()
    dictionary().save(str(tmp_path / "data-bin" / "dict.txt"))
    path = saved(checkpoint, tmp_path)
    if converted:
        here("convert", path, tmp_path / "ours.pt", "--data", tmp_path / "data-bin")
        path.unlink()
    found = load(tmp_path)
    assert found.is_language_model and torch.equal(outputs(found.models[0]), outputs(model))
    assert found.perplexity(["b c d"]) > 1


def test_scales_that_the_final_norm_takes_out_are_noted():
    converted = convert(foreign_files.residual(theirs={"enc_res_input_norm_scale": 0.5})[1], "x.pt")
    assert any("enc_res_input_norm_scale=0.5 is left out" in note for note in converted.notes)


def test_files_that_are_not_written(tmp_path, here):
    path = saved(foreign_files.b2t()[1], tmp_path)
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
    path = saved(foreign_files.b2t()[1], tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    said = here("convert", path, tmp_path / "ours.pt", status=2)
    assert str(path) in said and "Traceback" not in said
    assert list(tmp_path.glob("ours*")) == []


def test_other_files_are_not_converted(tmp_path, data, here):
    path = saved(foreign_files.b2t()[1], tmp_path)
    here("convert", path, tmp_path / "ours.pt")
    assert "is one of ours already" in here("convert", tmp_path / "ours.pt", tmp_path / "x.pt", status=2)
    stock = foreign_files.checkpoint({}, {**foreign_files.COMMON, **foreign_files.SIZES, "arch": "transformer"})
    assert "is fairseq's own" in here("convert", saved(stock, tmp_path), tmp_path / "x.pt", status=2)
    stock["args"] = Namespace(arch="lstm")
    assert "not of a code that can be converted" in here("convert", saved(stock, tmp_path), tmp_path / "x.pt", status=2)


def test_another_vocabulary_is_refused(tmp_path, data, here):
    path = saved(foreign_files.b2t()[1], tmp_path)
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
        loaded(tmp_path / "ours.pt", data)


def test_a_file_cannot_name_a_module_to_import(tmp_path, here):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    evil = {"connection_module": str(tmp_path / "evil.py"), "connection": "evil", "encoder_embed_path": "/etc/passwd"}
    path = saved(foreign_files.b2t(theirs=evil)[1], tmp_path)
    here("convert", path, tmp_path / "ours.pt")
    assert not hasattr(load_checkpoint(tmp_path / "ours.pt")["args"], "connection_module")


@pytest.mark.parametrize("make", [foreign_files.b2t, foreign_files.residual, foreign_files.admin])
def test_a_training_is_refused(make, tmp_path, here):
    make_data(tmp_path / "data")
    path = saved(make()[1], tmp_path)
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
