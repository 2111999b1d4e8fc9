"""Costs: the parameter formula against built models, and the page against the program."""

import dataclasses
from pathlib import Path

import pytest
from builders import build

from b2t_fairseq.experiments import costs
from b2t_fairseq.experiments.tasks import PAPER_CORPORA
from b2t_fairseq.experiments.tasks.base import Shape

TASK, CORPUS = PAPER_CORPORA["wmt_ende"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("depths", [(1, 1), (2, 3)])
def test_layers_have_as_many_parameters_as_the_formula_says(depths):
    corpus = dataclasses.replace(CORPUS, shape=Shape(32, 48, 9, 7, 1, 1, 0, 50 * 32, 50 * 32))
    model = build("transformer_b2t_6_6", encoder_layers=depths[0], decoder_layers=depths[1], share_all_embeddings=True)
    assert costs.parameters(corpus, "-".join(map(str, depths))) == sum(p.numel() for p in model.parameters())


def test_operations_of_the_base_model_by_hand():
    """6 operations for each weight and token, and attention over 30 tokens in the source, 15 + 30 in the target."""
    weights = 6 * (4 * 512**2 + 2 * 512 * 2048) + 6 * (8 * 512**2 + 2 * 512 * 2048) + 32_768 * 512
    attention = 3 * 4 * 512 * 6 * (30 + 45)
    assert costs.operations(TASK, CORPUS, "6-6") == pytest.approx(458_752 * (6 * weights + attention))


def test_deeper_costs_more_and_half_precision_saves_activations():
    assert costs.gpu_hours(TASK, CORPUS, "18-18", "A100") > 2 * costs.gpu_hours(TASK, CORPUS, "6-6", "A100")
    assert costs.memory(TASK, CORPUS, "18-18", "bf16") < costs.memory(TASK, CORPUS, "18-18", "fp32")
    assert costs.memory(TASK, CORPUS, "100-100", "bf16", True) < 0.7 * costs.memory(TASK, CORPUS, "100-100", "bf16")


def test_the_page_shows_what_the_program_prints():
    page = (ROOT / "docs" / "paper_scale.md").read_text(encoding="utf-8")
    for table in costs.tables().split("\n\n"):
        assert table in page
