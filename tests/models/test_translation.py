"""The translation model: architectures, options, word dropout, refusals."""

from argparse import ArgumentParser, Namespace

import pytest
import torch
from builders import ALL_CONNECTIONS, EOS, PAD, batch, build, gradients
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from b2t_fairseq import UserError
from b2t_fairseq.models.encoder_decoder import drop_words
from b2t_fairseq.models.translation import DEPTHS, B2TTransformerModel


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_depth_has_an_architecture(connection):
    for encoder, decoder in DEPTHS:
        for suffix, width in (("", 512), ("_tiny", 64)):
            name = f"transformer_{connection}_{encoder}_{decoder}{suffix}"
            assert ARCH_MODEL_REGISTRY[name] is B2TTransformerModel
            args = Namespace()
            ARCH_CONFIG_REGISTRY[name](args)
            once = vars(args).copy()
            ARCH_CONFIG_REGISTRY[name](args)
            assert vars(args) == once, "fairseq applies an architecture twice"
            assert (args.connection, args.encoder_layers, args.decoder_layers) == (connection, encoder, decoder)
            assert args.encoder_embed_dim == args.decoder_embed_dim == width


def test_base_sizes_are_the_papers():
    args = Namespace()
    ARCH_CONFIG_REGISTRY["transformer_b2t_60_12"](args)
    sizes = args.encoder_embed_dim, args.encoder_ffn_embed_dim, args.encoder_attention_heads
    assert sizes == (512, 2048, 8)


def test_an_explicit_connection_wins_and_shows():
    model = build("transformer_b2t_6_6", connection="pre")
    assert model.signature.startswith("connection:pre|init:default|layers:3-2|plugin:")
    assert model.decoder.layer_norm is not None


def test_options_of_a_connection_show_in_the_signature():
    model = build("transformer_b2t_no_ln_6_6", connection_options="final_norm=true")
    assert model.signature.startswith("connection:b2t_no_ln(final_norm=true)|")
    assert model.encoder.layer_norm is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connection": "B2T"}, "--connection 'B2T' is unknown: choose one of post, pre, b2t"),
        ({"connection_init": "xavier"}, "--connection-init 'xavier' is unknown: choose one of auto, default, rescale"),
        ({"connection_options": "final_norm=true"}, "connection 'b2t' has no option 'final_norm'"),
        ({"connection": "b2t_no_ln", "connection_options": "final_norm=2"}, "must be true or false"),
        ({"encoder_normalize_before": True}, "--encoder-normalize-before does not go with --connection"),
        ({"decoder_normalize_before": True}, "--decoder-normalize-before does not go with --connection"),
        ({"quant_noise_pq": 0.1}, "--quant-noise-pq does not go with --connection"),
        ({"cross_self_attention": True}, "--cross-self-attention does not go with --connection"),
        ({"connection_signature": "connection:post|layers:3-2"}, "its signature is connection:post"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(UserError) as error:
        build("transformer_b2t_6_6", **options)
    assert message in str(error.value)


def test_unknown_names_on_the_command_line_list_the_known_ones(capsys):
    parser = ArgumentParser()
    B2TTransformerModel.add_args(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--connection", "b2"])
    assert "'b2' is unknown: choose one of post, pre, b2t" in capsys.readouterr().err


def test_rescale_touches_only_the_layers_matrices():
    plain, rescaled = build("transformer_b2t_6_6"), build("transformer_b2t_6_6", connection_init="rescale")
    assert "|init:rescale|" in rescaled.signature
    depth = {"encoder": 3, "decoder": 2}
    for (name, before), after in zip(plain.named_parameters(), rescaled.parameters(), strict=True):
        scaled = ".layers." in name and before.dim() == 2
        factor = depth[name.split(".")[0]] ** -0.5 if scaled else 1
        assert torch.allclose(after, before * factor), name


def test_word_dropout_drops_positions_uncorrected():
    embedded = torch.ones(50, 40, 3)
    torch.manual_seed(0)
    dropped = drop_words(embedded, 0.3)
    per_position = dropped.sum(-1)
    assert set(per_position.unique().tolist()) == {0.0, 3.0}, "whole embeddings, not rescaled"
    assert abs((per_position == 0).float().mean() - 0.3) < 0.03
    assert drop_words(embedded, 0.9, keep_first=True)[:, 0].eq(1).all()


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_word_dropout_is_for_training_only(side):
    options = {f"{side}_word_dropout": 0.5, "no_token_positional_embeddings": True}
    model, plain = (
        build("transformer_b2t_6_6", **options),
        build("transformer_b2t_6_6", no_token_positional_embeddings=True),
    )
    source, target = batch()
    assert torch.equal(model.eval()(source, None, target)[0], plain.eval()(source, None, target)[0])
    torch.manual_seed(0)
    assert not torch.allclose(model.train()(source, None, target)[0], plain.train()(source, None, target)[0])
    if side == "decoder":
        only_eos = torch.full((5, 1), EOS)
        expected = plain.train()(source, None, only_eos)[0]
        assert torch.allclose(model.train()(source, None, only_eos)[0], expected), "the first position is kept"


def test_layerdrop_drops_whole_layers_in_training_only():
    model = build("transformer_b2t_6_6", encoder_layerdrop=0.5, decoder_layerdrop=1.0)
    source, target = batch()
    model.train()
    torch.manual_seed(0)
    states = [model.encoder(source, return_all_hiddens=True)["encoder_states"] for _ in range(40)]
    kept = [len(outputs) - 1 for outputs in states]  # without the embedding
    assert set(kept) == {0, 1, 2, 3}
    assert sum(kept) / len(kept) == pytest.approx(3 * 0.5, abs=0.3)
    assert len(model.decoder(target, encoder_out=model.encoder(source))[1]["inner_states"]) == 1
    model.eval()
    assert len(model.encoder(source, return_all_hiddens=True)["encoder_states"]) == 1 + 3
    assert len(model.decoder(target, encoder_out=model.encoder(source))[1]["inner_states"]) == 1 + 2


def test_dropout_kinds_act_in_training():
    source, target = batch()
    for option in ("dropout", "attention_dropout", "activation_dropout"):
        model = build("transformer_b2t_6_6", **{option: 0.5}).train()
        outputs = [model(source, None, target)[0] for _ in range(2)]
        assert not torch.allclose(*outputs), option
        model.eval()
        outputs = [model(source, None, target)[0] for _ in range(2)]
        assert torch.equal(*outputs), option


def test_alignment_to_the_source():
    model = build("transformer_b2t_6_6").eval()
    source, target = batch()
    attention = model(source, None, target)[1]["attn"][0]
    assert attention.shape == (5, 7, 9)
    assert torch.allclose(attention.sum(-1), torch.ones(5, 7), atol=2e-6)
    assert attention[1, :, :3].abs().max() < 1e-6, "no attention on padding"
    first = model(source, None, target, alignment_layer=0, alignment_heads=1)[1]["attn"][0]
    assert first.shape == attention.shape and not torch.allclose(first, attention)
    model.make_generation_fast_()
    assert model(source, None, target)[1]["attn"] == [None]


def test_a_left_padded_target_stays_finite():
    model = build("transformer_b2t_6_6").eval()
    source, target = batch()
    target[0, :3] = PAD
    assert model(source, None, target)[0].isfinite().all()


def test_bfloat16_autocast_agrees():
    model = build("transformer_b2t_6_6").eval()
    source, target = batch()
    expected = model(source, None, target)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = model(source, None, target)[0]
    assert got.dtype == torch.bfloat16
    assert 0 < (got.float() - expected).abs().max() <= 0.02 * expected.abs().max()  # 8 bits; 0.006 was observed


def test_gradients_without_any_padding():
    """The fused causal path, which a padded batch does not take, gives the same gradients as the masked one."""
    model = build("transformer_b2t_6_6")
    source, target = batch()
    source, target = source[:1], target[:1]
    fused = gradients(model, source, target)
    padded = torch.cat([target, torch.full((1, 2), PAD)], 1)
    masked = gradients(model, source, padded)
    scale = max(g.abs().max() for g in fused.values())
    for name, gradient in fused.items():
        assert (gradient - masked[name]).abs().max() <= 2e-6 * scale, name
