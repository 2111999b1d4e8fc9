"""Recipes: every key becomes its flag, and files that are not recipes are refused in one sentence."""

from pathlib import Path

import pytest
import yaml

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.connections import CONNECTIONS
from b2t_fairseq.experiments.recipes import flags, read_recipe
from b2t_fairseq.experiments.tasks import TASKS


def test_each_key_is_its_flag():
    block = {"lr": 0.001, "adam-betas": "(0.9, 0.98)", "share-all-embeddings": True, "cpu": False, "seed": 0}
    assert flags(block) == ["--lr", "0.001", "--adam-betas", "(0.9, 0.98)", "--share-all-embeddings", "--seed", "0"]


ARCHITECTURES = {"lm": "transformer_lm_b2t_16_tiny", "asr": "s2t_transformer_b2t_12_6_tiny"}


@pytest.mark.parametrize("task", TASKS)
def test_the_laptop_recipes_are_taken_whole_by_fairseq(task):
    """fairseq's own parser knows every option, and reads back the value that the file says."""
    from fairseq import options

    recipe = read_recipe(TASKS[task].recipe(), TASKS[task].blocks, CONNECTIONS)
    parser = options.get_training_parser()
    architecture = ARCHITECTURES.get(task, "transformer_b2t_18_18_tiny")
    arguments = ["data", "--arch", architecture, *flags(recipe["train"])]
    parsed = vars(options.parse_args_and_arch(parser, arguments))
    for key, value in recipe["train"].items():
        read = parsed[key.replace("-", "_")]
        assert str(read[0] if isinstance(read, list) else read) == str(value), key
    if "generate" in recipe:
        generate = flags(recipe["generate"])
        parsed = vars(options.parse_args_and_arch(options.get_generation_parser(), ["data", *generate]))
        assert parsed["beam"] == recipe["generate"]["beam"]
        assert parsed["required_batch_size_multiple"] == 1  # no sentence is dropped
    else:
        parsed = vars(options.parse_args_and_arch(options.get_eval_lm_parser(), ["data", *flags(recipe["eval-lm"])]))
        assert 0 < parsed["context_window"] < parsed["tokens_per_sample"] <= recipe["train"]["tokens-per-sample"]


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


@pytest.mark.parametrize(
    "option",
    [
        "user-dir: theirs",
        "connection-module: theirs",
        "save-dir: saved",
        "tensorboard-logdir: logs",
        "log-file: log",
        "output: averaged",
        "finetune-from-model: theirs",
        "model-overrides: '{}'",
        "trust-checkpoint: true",
        "srcdict: theirs",
        "user-dir=theirs: true",
        "'lr 1 --user-dir': theirs",
        "lr: --user-dir=theirs",
        "lr: ../theirs",
        "wandb-project: theirs",
    ],
)
def test_what_a_recipe_cannot_ask_for(option, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"train: {{{option}}}\naverage: {{}}\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: train\."):
        read_recipe(tmp_path / "recipe.yaml", ("train", "average"))


def test_all_our_recipes_are_taken():
    from b2t_fairseq.experiments.recipes import check_option, configs_folder

    files = [path for path in sorted(configs_folder().rglob("*.yaml")) if path.parent.name != "examples"]
    assert len(files) >= 8
    for path in files:
        for name, block in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            for key, value in block.items():
                check_option(path, name, key, value)
