"""Probes of models that are not ours: with equal weights they say the same as of ours."""

import argparse
from types import SimpleNamespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, build_model
from torch import nn

from b2t_fairseq import UserError
from b2t_fairseq.analysis import fresh, probes
from b2t_fairseq.analysis.batches import make_batches
from b2t_fairseq.analysis.stock import stock_stacks

PAIRS = [("a b c d", "w x y"), ("b", "y z"), ("c a", "x w w y z"), ("d b", "z")] * 2


@pytest.fixture(scope="module")
def sample():
    return make_batches(PAIRS, tokens=100)


@pytest.mark.parametrize(("connection", "before"), [("post", False), ("pre", True)])
def test_a_stock_model_measures_as_ours_does_with_its_weights(connection, before, sample):
    words, (batch, *_) = sample
    ours = fresh.build(connection, "3-2", 16, 1, words)
    stock = stock_model(words, before)
    stock.load_state_dict(ours.state_dict())
    records = [probes.measure(model, batch, list(probes.PROBES), [1, 2]) for model in (ours, stock)]
    assert len(records[0]) == len(records[1]) > 5 + 15 + 8 + 9 + 4
    for mine, theirs in zip(*records, strict=True):
        value = theirs.pop("value")
        assert mine.pop("value") == pytest.approx(value, rel=1e-4) and mine == theirs


def stock_model(words, before=False):
    args = argparse.Namespace(arch="transformer_iwslt_de_en", dropout=0.1, share_all_embeddings=True)
    for side, depth in (("encoder", 3), ("decoder", 2)):
        sizes = {"layers": depth, "embed_dim": 16, "ffn_embed_dim": 64, "attention_heads": 4}
        for name, value in {**sizes, "normalize_before": before, "layerdrop": 0.5}.items():
            setattr(args, f"{side}_{name}", value)
    ARCH_CONFIG_REGISTRY[args.arch](args)
    torch.manual_seed(2)
    return build_model(args, SimpleNamespace(source_dictionary=words, target_dictionary=words))


def test_layerdrop_hides_no_layer_and_modes_stay(sample):
    words, (batch, *_) = sample
    model = stock_model(words).train()
    model.decoder.eval()
    assert {side: len(stack) for side, stack in stock_stacks(model).items()} == {"encoder": 3, "decoder": 2}
    records = probes.measure(model, batch, "growth")
    assert len(records) == 5 and model.encoder.training and not model.decoder.training
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_what_cannot_be_heard_is_one_line(sample):
    words, _ = sample
    with pytest.raises(UserError, match="Linear has no decoder.layers"):
        probes.stacks_of(nn.Linear(1, 1))
    model = stock_model(words)
    del model.decoder.layers[0].fc1  # as in a fork with a feed-forward layer of its own
    with pytest.raises(UserError, match="has no fc1 and fc2"):
        list(probes.ffn_gradients(probes.Trace(stock_stacks(model))))


def test_fairseqs_task_of_an_architecture():
    tasks = {name: fresh.task_of(name) for name in ("transformer_iwslt_de_en", "transformer_lm_wiki103")}
    assert tasks == {"transformer_iwslt_de_en": "translation", "transformer_lm_wiki103": "language_modeling"}
    assert fresh.task_of("s2t_transformer_s") == fresh.task_of("s2t_transformer_b2t") == "speech_to_text"
