"""A connection from outside the package: the example of docs/own_connection.md, by both of its ways."""

import re
import sys
from pathlib import Path

import pytest
import torch
from builders import PAD, build, build_language_model, build_speech
from end_to_end import ROOT, forgetting_methods, shell

from b2t_fairseq import UserError, cli
from b2t_fairseq.patches.additions.connection_module import import_connection_module

EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs/own_connection.md").read_text(), re.S)[1]
TRAIN = (
    *("--encoder-layers", "2", "--decoder-layers", "2", "--max-tokens", "200", "--connection-options", "start=0.1"),
    *("--optimizer", "adam", "--lr", "0.01", "--max-update", "2", "--cpu", "--num-workers", "0", "--save-dir", "saved"),
)
BY_NAME = ("--arch", "transformer_b2t_6_6_tiny", "--connection", "rezero")
BY_ARCHITECTURE = ("--arch", "transformer_rezero_6_6_tiny")
GENERATE = ("--path", "saved/checkpoint_last.pt", "--gen-subset", "valid", "--cpu", "--beam", "2", "--max-len-b", "8")


def b2t_fairseq(*arguments, cwd: Path, **options):
    return shell(sys.executable, "-m", "b2t_fairseq.cli", *arguments, cwd=cwd, **options)


def test_the_example_is_short():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 20


@pytest.mark.slow
def test_by_connection_module(folder):
    (folder / "rezero.py").write_text(EXAMPLE)
    # the module after the names it defines: the order of options must not matter
    log = b2t_fairseq("train", "data", *TRAIN, *BY_ARCHITECTURE, "--connection-module", "rezero.py", cwd=folder).stdout
    assert "connection:rezero(start=0.1)|init:default|layers:2-2|" in log
    model = torch.load(folder / "saved" / "checkpoint_last.pt", weights_only=False)["model"]
    assert model["encoder.layers.connection.a"].shape == (2, 2)
    assert (model["decoder.layers.connection.a"] != 0.1).all()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    moved = [str(folder / argument) if argument.startswith("saved") else argument for argument in GENERATE]
    generate = ("generate", folder / "data", *moved)
    refused = b2t_fairseq(*generate, cwd=elsewhere, check=False)
    assert refused.returncode != 0, "a checkpoint must not run code on its own word"
    assert f"add --connection-module {folder / 'rezero.py'}" in refused.stdout.strip().splitlines()[-1]
    named = b2t_fairseq(*generate, "--connection-module", folder / "rezero.py", cwd=elsewhere)
    assert "Generate valid" in named.stdout


@pytest.mark.slow
def test_by_a_user_directory_that_imports_the_package(folder):
    (folder / "my_methods").mkdir()
    (folder / "my_methods" / "__init__.py").write_text(EXAMPLE)
    user_dir = ("--user-dir", "my_methods")
    train, generate = (str(Path(sys.executable).with_name(f"fairseq-{name}")) for name in ("train", "generate"))
    log = shell(train, "data", *user_dir, *TRAIN, *BY_NAME, cwd=folder).stdout
    assert "connection:rezero(start=0.1)" in log
    assert "Generate valid" in shell(generate, "data", *user_dir, *GENERATE, cwd=folder).stdout


def test_a_module_that_is_not_there_is_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command line sets
    assert cli.main(["train", "data", *TRAIN, *BY_NAME, "--connection-module", "rezero.py"]) != 0
    assert capsys.readouterr().err.strip().endswith("rezero.py: there is no such file: check the path")


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("no_such_module_of_mine", None, "--connection-module no_such_module_of_mine cannot be imported"),
        ("broken.py", "import", "broken.py cannot be imported (SyntaxError"),
        ("failing.py", "1 / 0", "failing.py cannot be imported (ZeroDivisionError: division by zero)"),
        (
            "taken.py",
            "from b2t_fairseq.connections import Connection, register_connection\n"
            "@register_connection('post')\nclass Mine(Connection): pass",
            "two connections are named 'post': rename yours (b2t_connection_module_taken.Mine)",
        ),
    ],
)
def test_what_cannot_be_imported(tmp_path, module, code, message):
    if code is not None:
        module = str(tmp_path / module)
        Path(module).write_text(code)
    with pytest.raises(UserError) as error:
        import_connection_module(module)
    assert message in str(error.value)


def test_a_late_name_has_architectures_and_is_imported_once(tmp_path):
    path = tmp_path / "late.py"
    path.write_text(EXAMPLE.replace('"rezero"', '"late"'))
    with forgetting_methods():
        assert import_connection_module(str(path)) == import_connection_module(str(path)) == str(path)
        model = build("transformer_late_12_12", connection_module=str(path)).eval()
        assert "connection:late|" in model.signature
        source = torch.tensor([[5, 6, 7], [PAD, 8, 9]])
        before = model(source, None, source.flip(1))[0]
        with torch.no_grad():
            model.decoder.layers.connection.a.fill_(1.0)
        assert not torch.equal(before, model(source, None, source.flip(1))[0])
        for other in (build_language_model("transformer_lm_late_6"), build_speech("s2t_transformer_late_6_6")):
            assert "connection:late|" in other.signature
