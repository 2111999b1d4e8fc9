"""The user's methods: how they are imported, noted and named."""

import re
from argparse import ArgumentParser

import pytest
from end_to_end import ROOT, forgetting_methods

from b2t_fairseq import UserError, cli
from b2t_fairseq.analysis import style
from b2t_fairseq.models import methods

EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs/own_connection.md").read_text(), re.S)[1]


@pytest.fixture
def clean():
    """Forget what a test registers."""
    with forgetting_methods():
        yield


def parse(*arguments):
    parser = ArgumentParser()
    methods.add_code_options(parser.add_argument)
    return parser.parse_args([str(argument) for argument in arguments])


def test_a_module_is_imported_when_the_option_is_parsed_and_its_code_is_noted(tmp_path, monkeypatch, clean):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(EXAMPLE.replace('"rezero"', f'"own_{name}"'))
    options = parse("--connection-module", "first.py", "--connection-module", "second.py")
    assert options.connection_module == [str(tmp_path / "first.py"), str(tmp_path / "second.py")]
    assert methods.parse_methods("post, own_first", "--x") == ["post", "own_first"]
    # a child is given the code of its own method alone, by a path that works in any folder
    assert methods.code_options("own_first") == ["--connection-module", str(tmp_path / "first.py")]
    assert methods.code_options("arch:transformer_own_second_6_6") == methods.code_options("own_second")
    assert methods.code_options("post", "arch:transformer") == []
    assert (
        methods.code_key("post") == "" and len({methods.code_key(f"own_{name}") for name in ("first", "second")}) == 2
    )
    assert methods.anywhere(str(tmp_path / "first.py")) == "first.py" and methods.anywhere("post") == "post"


def test_the_key_is_of_the_content_and_of_nothing_else(tmp_path, clean):
    code = EXAMPLE.replace('"rezero"', '"own_key"')
    package = tmp_path / "here" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    methods.import_code("--connection-module", str(package))
    before = methods.code_key("own_key")
    moved = package.rename(tmp_path / "package")
    methods.OWN["own_key"] = ("--connection-module", str(moved))
    assert methods.code_key("own_key") == before
    (moved / "helper.py").write_text("")
    helped = methods.code_key("own_key")
    (moved / "__init__.py").write_text(code + "# edited\n")
    assert len({before, helped, methods.code_key("own_key")}) == 3


def test_a_user_directory_brings_architectures(tmp_path, clean):
    folder = tmp_path / "plugin_of_mine"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from fairseq.models import register_model_architecture\n"
        "from fairseq.models.transformer import base_architecture\n"
        "register_model_architecture('transformer', 'plugin_of_mine')(base_architecture)\n"
    )
    parse("--user-dir", folder)
    assert methods.check_method("arch:plugin_of_mine") == "arch:plugin_of_mine"
    assert methods.code_options("arch:plugin_of_mine") == ["--user-dir", str(folder)]


TAKEN = EXAMPLE.replace('"rezero"', '"post"')


@pytest.mark.parametrize("command", ["quickstart", "reproduce", "depth-check", "analyze", "train"])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "there is no such file: check the path"),
        ("def", "cannot be imported (SyntaxError"),
        (TAKEN, "two connections are named 'post'"),
        ("x = 1\n", "registers no connection and no architecture"),
    ],
)
def test_what_cannot_be_used_is_one_line_in_every_command(command, code, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["b2t-fairseq"])
    path = tmp_path / "broken_method.py"
    if code is not None:
        path.write_text(code)
    first = {"reproduce": ["table1"], "analyze": ["gradients", "--connection", "post"], "train": ["data"]}
    assert cli.main([command, *first.get(command, []), "--connection-module", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "broken_method" in error and message in error


@pytest.mark.parametrize(
    ("method", "message"),
    [("ghost", "'ghost' is unknown"), ("arch:transformer_iwslt", "did you mean transformer_iwslt_de_en?")],
)
def test_an_unknown_method_is_one_line(method, message):
    with pytest.raises(UserError, match=re.escape(message)):
        methods.parse_methods(f"post,{method}", "--connections")


def test_an_architecture_gets_the_sizes_of_the_others():
    sizes = methods.sizes_like("transformer_post_18_18_tiny", (3, 2))
    assert sizes["encoder_layers"] == 3 and sizes["decoder_layers"] == 2
    assert sizes["decoder_embed_dim"] == 64 and sizes["encoder_ffn_embed_dim"] == 256
    alone = methods.sizes_like("transformer_lm_post_6_tiny", (2,))
    assert alone["decoder_layers"] == 2 and alone["decoder_input_dim"] == alone["decoder_embed_dim"]


def test_a_method_has_one_colour_everywhere_that_none_of_ours_has():
    ours = {colour for _, colour, _, _ in style.STYLES.values()}
    for name in ("rezero", "mine", "arch:transformer_iwslt_de_en"):
        assert style.colour(name) == style.colour(name) == style.line(name)["color"] not in ours
    assert style.label("arch:transformer_iwslt_de_en") == "transformer_iwslt_de_en"
