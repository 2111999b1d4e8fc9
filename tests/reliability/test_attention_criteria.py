"""Criteria that read attention in training work as with fairseq's own Transformer, in value and gradient."""

import re
import sys
import types

import pytest
import torch
from builders import build
from end_to_end import NARROW, TRAINING, make_data, ours
from fairseq.criterions import FairseqCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)

from b2t_fairseq.patches.additions.criterion_attention import reads_attention

TOKENS = torch.tensor([[4, 5, 6, 7, 2], [8, 9, 2, 1, 1]])
LENGTHS, SHIFTED = torch.tensor([5, 3]), torch.tensor([[2, 4, 5], [2, 8, 1]])


@pytest.mark.parametrize("checkpointed", [False, True])
def test_attention_and_its_gradient_are_stock_fairseqs(checkpointed):
    stock = build("transformer")
    plugin = build("transformer_post_6_6", checkpoint_activations=checkpointed)
    plugin.load_state_dict(stock.state_dict())
    plugin.decoder.keeps_attention = True
    gradients = []
    for model in (stock, plugin):
        logits, extra = model.train()(TOKENS, LENGTHS, SHIFTED)
        attention = extra["attn"][0]
        (attention[..., 1].square().sum() + logits.square().mean()).backward()
        gradients.append((attention, dict((n, p.grad) for n, p in model.named_parameters())))
    (expected, theirs), (attention, own) = gradients
    assert torch.allclose(attention, expected, atol=1e-6)
    assert theirs.keys() == own.keys()
    for name, gradient in theirs.items():
        assert torch.allclose(own[name], gradient, atol=1e-5), name


def test_without_such_a_criterion_training_saves_the_attention():
    model = build("transformer_post_6_6").train()
    assert model(TOKENS, LENGTHS, SHIFTED)[1]["attn"] == [None]


def a_criterion(source: str, has_file: bool, tmp_path, monkeypatch) -> FairseqCriterion:
    """An instance of the class `Mine` of a module of the user's."""
    module = types.ModuleType("users_module")
    if has_file:
        module.__file__ = str(tmp_path / "users_module.py")
        (tmp_path / "users_module.py").write_text(source)
    monkeypatch.setitem(sys.modules, "users_module", module)
    exec(compile(source, str(tmp_path / "users_module.py"), "exec"), vars(module))
    return object.__new__(module.Mine)


@pytest.mark.parametrize(
    "body, has_file, expected",
    [
        ("def forward(self, out): return out[1]['attn']", True, True),
        ("reads = 1", True, False),
        ("reads = 1", False, True),
    ],
)
def test_a_users_criterion_is_known_by_its_source(body, has_file, expected, tmp_path, monkeypatch):
    source = f"from fairseq.criterions import FairseqCriterion\nclass Mine(FairseqCriterion):\n    {body}\n"
    assert reads_attention(a_criterion(source, has_file, tmp_path, monkeypatch)) is expected


def test_fairseqs_own_criteria():
    assert reads_attention(object.__new__(LabelSmoothedCrossEntropyCriterionWithAlignment))
    assert not reads_attention(object.__new__(LabelSmoothedCrossEntropyCriterion))


@pytest.mark.slow
def test_a_training_with_alignments(tmp_path):
    data = make_data(tmp_path)
    for split in ("train", "valid", "test"):
        count = len((data.parent / f"{split}.en").read_text().splitlines())
        (data.parent / f"{split}.align").write_text("0-0 1-1\n" * count)
    text = [f"--{split}pref={data.parent / split}" for split in ("train", "valid", "test")]
    where = ["--destdir", tmp_path / "aligned", "--align-suffix", "align", "--joined-dictionary"]
    ours("preprocess", "-s", "en", "-t", "de", *text, *where)
    criterion = ["--criterion", "label_smoothed_cross_entropy_with_alignment", "--load-alignments"]
    training = [part for part in TRAINING if part not in ("--criterion", "label_smoothed_cross_entropy")]
    done = ours("train", tmp_path / "aligned", *NARROW, *training, *criterion, "--max-update=2", "--no-save")
    losses = re.findall(r"alignment_loss=([\d.]+)", done.stdout)
    assert losses and all(float(loss) > 0 for loss in losses)
