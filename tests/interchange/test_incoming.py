"""Checkpoints of other codes: what they become, what is refused, and where they load without being converted."""

import hashlib
import logging
from argparse import Namespace
from types import SimpleNamespace

import foreign_files
import pytest
import torch
from builders import batch, dictionary
from fairseq.models import build_model
from fairseq.models.transformer import TransformerModel

from b2t_fairseq import load
from b2t_fairseq.average_checkpoints import average
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
    path, ours = foreign_files.saved(checkpoint, tmp_path), tmp_path / "new" / "ours.pt"
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
    path = foreign_files.saved(checkpoint, tmp_path)
    assert_same(model, read(path), signature)
    assert signature in here("convert", path, tmp_path / "ours.pt")
    assert_same(model, read(tmp_path / "ours.pt"), signature)


@pytest.mark.parametrize("what", ["b2t code, b2t ", "resi_dual", "dlcl_pre", "admin", "tfixup", "language model"])
def test_fairseq_loads_them_without_conversion(what, tmp_path, data, caplog):
    make = TRANSLATIONS[what][0] if what in TRANSLATIONS else foreign_files.b2t_language_model
    model, checkpoint = make()
    path = foreign_files.saved(checkpoint, tmp_path)
    caplog.set_level(logging.INFO)
    assert torch.equal(outputs(foreign_files.loaded(path, data)), outputs(model))
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
    path = foreign_files.saved(foreign_files.b2t()[1], tmp_path)
    assert "|init:rescale|" in here("convert", path, tmp_path / "ours.pt")
    assert "|init:default|" in here("convert", path, tmp_path / "ours.pt", "--init", "default")
    post = foreign_files.saved(foreign_files.b2t("post")[1], tmp_path, "post.pt")
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
    path = foreign_files.saved(checkpoint, tmp_path)
    assert_same(model, read(path), f"connection:{label}|init:")
    assert signature_of(average([path])).startswith(f"connection:{label}|init:")


def test_what_is_none_of_ours_is_not_labelled_post():
    _, checkpoint = foreign_files.b2t("pre", theirs={"residual_bottom_to_top": True})
    assert signature_of(checkpoint).startswith("connection:none of ours|")
    assert signature_of(foreign_files.admin()[1]) is None
    assert signature_of(foreign_files.tfixup()[1]) is None


def test_averages_are_of_ours(tmp_path):
    first, second = (foreign_files.b2t(seed=seed) for seed in (1, 2))
    paths = [foreign_files.saved(checkpoint, tmp_path, f"{i}.pt") for i, (_, checkpoint) in enumerate((first, second))]
    state = average(paths)
    expected = (first[0].encoder.layers[1].fc1.weight + second[0].encoder.layers[1].fc1.weight) / 2
    assert torch.equal(state["model"]["encoder.layers.1.fc1.weight"], expected)
    assert built(state)[0].signature.startswith("connection:b2t|init:rescale|")
    post = foreign_files.saved(foreign_files.b2t("post")[1], tmp_path, "post.pt")
    with pytest.raises(UserError, match="hold different models"):
        average([paths[0], post])


def test_from_pretrained(tmp_path, data):
    model, checkpoint = foreign_files.b2t()
    foreign_files.saved(checkpoint, tmp_path)
    hub = TransformerModel.from_pretrained(str(tmp_path), "theirs.pt", str(data))
    assert torch.equal(outputs(hub.models[0]), outputs(model))


@pytest.mark.parametrize("converted", [False, True])
def test_a_language_model_is_loaded_by_its_folder(converted, tmp_path, here):
    """Its file names the task as fairseq before 0.10 does, and its data has one dictionary."""
    model, checkpoint = foreign_files.b2t_language_model()
    (tmp_path / "data-bin").mkdir()
    dictionary().save(str(tmp_path / "data-bin" / "dict.txt"))
    path = foreign_files.saved(checkpoint, tmp_path)
    if converted:
        here("convert", path, tmp_path / "ours.pt", "--data", tmp_path / "data-bin")
        path.unlink()
    found = load(tmp_path)
    assert found.is_language_model and torch.equal(outputs(found.models[0]), outputs(model))
    assert found.perplexity(["b c d"]) > 1


def test_scales_that_the_final_norm_takes_out_are_noted():
    converted = convert(foreign_files.residual(theirs={"enc_res_input_norm_scale": 0.5})[1], "x.pt")
    assert any("enc_res_input_norm_scale=0.5 is left out" in note for note in converted.notes)
