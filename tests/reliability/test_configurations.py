"""Recipes and hydra's files from others: they set values; they import nothing and choose no place to write to."""

import pytest
import yaml

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.experiments.recipes import configs_folder, read_paper_recipe, read_recipe
from b2t_fairseq.experiments.tasks import PAPER_CORPORA, TASKS

REFUSED = {
    "user-dir": "evil",
    "user_dir": "evil",
    "--user-dir": "evil",
    "connection-module": "evil.py",
    "save-dir": "/tmp/x",
    "tensorboard-logdir": "/tmp/x",
    "results-path": "/tmp/x",
    "log-file": "/tmp/x",
    "path": "evil.pt",
    "model-overrides": "{'x': __import__('os').getpid()}",
    "trust-checkpoint": True,
}


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.parametrize("block", ["train", "generate", "average"])
def test_a_recipe_imports_and_writes_nothing(key, block, tmp_path):
    recipe = yaml.safe_load((configs_folder() / "laptop" / "quickstart.yaml").read_text(encoding="utf-8"))
    recipe[block][key] = REFUSED[key]
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(UserError, match=f"my.yaml: {block}.{key} is refused"):
        read_recipe(tmp_path / "my.yaml", tuple(recipe))


@pytest.mark.parametrize("name", PAPER_CORPORA)
def test_a_recipe_at_paper_scale_neither(name, tmp_path):
    task, corpus = PAPER_CORPORA[name]
    text = corpus.recipe.read_text(encoding="utf-8")
    (tmp_path / "my.yaml").write_text(text.replace("\ntrain:\n", "\ntrain:\n  user-dir: evil\n", 1))
    with pytest.raises(UserError, match="train.user-dir is refused"):
        read_paper_recipe(tmp_path / "my.yaml", task.command, corpus.depths, corpus.tests)


def test_our_own_recipes_hold_nothing_of_the_kind():
    for task in TASKS.values():
        read_recipe(task.recipe(), task.blocks)


@pytest.mark.parametrize(
    "files",
    [
        {"run.yaml": "common:\n  user_dir: evil\n"},
        {"run.yaml": "defaults:\n  - common: mine\n", "common/mine.yaml": "user_dir: evil\n"},
        {"run.yaml": "defaults:\n  - base\n", "base.yaml": "common: {user_dir: evil}\n"},
    ],
)
@pytest.mark.parametrize("name", ["run", "run.yaml"])
def test_a_user_dir_in_a_file_is_not_silently_replaced(files, name, tmp_path, capsys):
    for place, text in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    assert cli.main(["hydra-train", "--config-dir", str(tmp_path), "--config-name", name]) == 2
    assert "sets common.user_dir to evil" in capsys.readouterr().err


def test_a_file_without_one_passes(tmp_path):
    (tmp_path / "run.yaml").write_text("common: {seed: 3}\ndefaults: [run]\n")
    filled = cli.fill_hydra(["--config-dir", str(tmp_path), "--config-name", "run", "task=translation"])
    assert f"common.user_dir={cli.OUR_PATH}" in filled
