"""Recipes: every key becomes its flag, and files that are not recipes are refused in one sentence."""

from pathlib import Path

import pytest

from b2t_fairseq.errors import UserError
from b2t_fairseq.reproduce.quickstart import BLOCKS, RECIPE
from b2t_fairseq.reproduce.recipe import flags, read_recipe


def test_each_key_is_its_flag():
    block = {"lr": 0.001, "adam-betas": "(0.9, 0.98)", "share-all-embeddings": True, "cpu": False, "seed": 0}
    assert flags(block) == ["--lr", "0.001", "--adam-betas", "(0.9, 0.98)", "--share-all-embeddings", "--seed", "0"]


def test_the_quickstart_recipe_is_taken_whole_by_fairseq():
    """fairseq's own parser knows every option, and reads back the value that the file says."""
    from fairseq import options

    recipe = read_recipe(RECIPE, BLOCKS)
    parser = options.get_training_parser()
    arguments = ["data", "--arch", "transformer_b2t_18_18_tiny", *flags(recipe["train"])]
    parsed = vars(options.parse_args_and_arch(parser, arguments))
    for key, value in recipe["train"].items():
        read = parsed[key.replace("-", "_")]
        assert (read[0] if isinstance(read, list) else read) == value, key
    parsed = vars(options.parse_args_and_arch(options.get_generation_parser(), ["data", *flags(recipe["generate"])]))
    assert parsed["beam"] == 4 and parsed["required_batch_size_multiple"] == 1  # no sentence is dropped


@pytest.mark.parametrize(
    "text, sentence",
    [
        (None, "no such file"),
        ("train: [", "not valid YAML"),
        ("train: {lr: 1}", "must hold the blocks"),
        ("train: {lr: 1}\naverage: 3", "block 'average'"),
        ("train: {lr: [1, 2]}\naverage: {}", "train.lr"),
    ],
)
def test_a_bad_recipe_is_refused(text, sentence, tmp_path: Path):
    if text is not None:
        (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_recipe(tmp_path / "recipe.yaml", ("train", "average"))
