"""The options of a checkpoint from a stranger import, evaluate, build and open nothing that the user did not name."""

import argparse
import sys
from pathlib import Path

import pytest
from fairseq import utils
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.models.transformer import TransformerModel
from reliability.strangers import CODE, DECODING, save

from b2t_fairseq import UserError
from b2t_fairseq.checkpoints import trust
from b2t_fairseq.checkpoints.loading import load_checkpoint

# --- what must keep working


@pytest.mark.parametrize("name", [*DECODING, "restore", "finetune", "average"])
def test_an_honest_checkpoint_works(name, command, folder):
    status, line = command(name, folder / "mt" / "checkpoint_last.pt")
    assert status in (0, None), line


def test_an_honest_language_model_works(command, folder):
    assert command("eval-lm", folder / "lm" / "checkpoint_last.pt")[0] in (0, None)


def test_from_pretrained_works(folder):
    hub = TransformerModel.from_pretrained(str(folder / "mt"), "checkpoint_last.pt", str(folder / "bin"))
    assert isinstance(hub.translate("a man sleeps", beam=1), str)


# --- 1. modules


def foreign_module(mark: Path, how: str, here: Path) -> dict:
    """Options of a checkpoint that name a module of its own."""
    file = here / "theirs.py"
    file.write_text(f"open({str(mark)!r}, 'w')\n")
    options = {"connection_module": str(file), "connection": "b2t"}
    if how == "unknown connection":
        options["connection"] = "theirs"
    if how == "unsigned":
        options["connection_signature"] = None
    if how == "unknown and unsigned":
        options |= {"connection": "theirs", "connection_signature": None}
    if how == "by name":
        options["connection_module"] = "theirs"
    return options


HOW = ("known connection", "unknown connection", "unsigned", "unknown and unsigned", "by name")


@pytest.mark.parametrize(
    ("name", "how"), [*(("generate", how) for how in HOW), *((name, HOW[i]) for name in DECODING[1:] for i in (0, 3))]
)
def test_a_module_that_a_checkpoint_names_is_not_imported(name, how, state, command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    mark = tmp_path / "ran"
    vars(state["cfg"]["model"]).update(foreign_module(mark, how, tmp_path))
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert not mark.exists()
    if "unknown" in how:
        assert status == 2 and line.startswith("error: ") and "--connection-module" in line
    else:
        assert status in (0, None), line


def test_from_pretrained_imports_no_module_of_a_checkpoint(state, folder, tmp_path):
    mark = tmp_path / "ran"
    vars(state["cfg"]["model"]).update(foreign_module(mark, "known connection", tmp_path))
    save(state, tmp_path / "evil.pt")
    TransformerModel.from_pretrained(str(tmp_path), "evil.pt", str(folder / "bin"))
    assert not mark.exists()


def test_a_trusted_checkpoint_imports_its_module(state, folder, command, tmp_path):
    mark = tmp_path / "ran"
    vars(state["cfg"]["model"]).update(foreign_module(mark, "known connection", tmp_path))
    path = save(state, tmp_path / "own.pt")
    assert command("generate", path, "--trust-checkpoint")[0] in (0, None) and mark.exists()
    mark.unlink()
    sys.modules.pop("b2t_connection_module_theirs")
    load_model_ensemble_and_task([str(path)], {"data": str(folder / "bin"), "trust_checkpoint": True})
    assert mark.exists()
    sys.modules.pop("b2t_connection_module_theirs")


# --- 2a. texts that fairseq evaluates


@pytest.mark.parametrize("name", DECODING)
def test_a_text_of_a_checkpoint_is_not_evaluated(name, state, command, tmp_path, mark):
    state["cfg"]["model"].adaptive_softmax_cutoff = CODE
    status, line = command(name, save(state, tmp_path / "evil.pt"))
    assert status == 2 and "no code is run" in line and not mark.exists()


def test_a_text_of_a_language_model_is_not_evaluated(folder, command, tmp_path, mark):
    state = load_checkpoint(folder / "lm" / "checkpoint_last.pt")
    state["cfg"]["model"] |= {"adaptive_softmax_cutoff": CODE, "adaptive_input_cutoff": CODE}
    status, line = command("eval-lm", save(state, tmp_path / "evil.pt"))
    assert status == 2 and "no code is run" in line and not mark.exists()


@pytest.mark.parametrize("option", ["--adam-betas", "--adaptive-softmax-cutoff"])
def test_a_text_of_an_option_is_not_evaluated(option, folder, command, mark):
    status, line = command("restore", folder / "mt" / "checkpoint_last.pt", option, CODE)
    assert status == 2 and line.startswith("error: ") and not mark.exists()


def test_every_eval_of_fairseq_is_replaced():
    import re

    import fairseq

    root, replaced = Path(fairseq.__file__).parent, 0
    for path in root.rglob("*.py"):
        if "examples" in path.parts or not re.search(r"(?<![\w.])eval\(", path.read_text(encoding="utf-8")):
            continue
        module = ".".join(("fairseq", *path.relative_to(root).with_suffix("").parts))
        assert vars(sys.modules[module])["eval"] is not eval, module
        replaced += 1
    assert replaced > 15


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[20000, 60000]", [20000, 60000]),
        ("(0.9, 0.98)", (0.9, 0.98)),
        ("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)]", [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)]),
        ("True", True),
        ("{'a': 1}", {"a": 1}),
        ("-1e-3", -1e-3),
        ("2 * (3 + 4) - 1", 13),
        ("None", None),
    ],
)
def test_plain_values_are_read(text, value):
    from fairseq.models.fconv import eval as read

    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "().__class__",
        "f'{1}'",
        "'a' * 10**9",
        "'a' * 1000000000",
        "[0] * 9999 * 9999",
        "9" * 9000 + "*9",
        "(" * 500 + ")" * 500,
        "[" * 9999,
        "1 if True else 2",
        "open",
        "",
        "a := 1",
        "{**{}}",
    ],
)
def test_what_is_not_a_plain_value_is_refused(text):
    from fairseq.models.fconv import eval as read

    with pytest.raises(UserError, match="no code is run"):
        read(text)


def test_fairseqs_own_functions_read_as_before():
    assert utils.eval_str_list("[1, 2]", type=int) == [1, 2] and utils.eval_str_list("0.5") == [0.5]
    assert utils.eval_str_list(None) is None and utils.eval_str_list([1, 2], type=int) == [1, 2]
    assert utils.eval_bool("False") is False and utils.eval_bool("True") is True and utils.eval_bool(None) is False
    assert utils.eval_str_dict("{'a': 'b'}") == {"a": "b"}


# --- 2b. names of classes


@pytest.mark.parametrize(
    ("group", "change"),
    [
        ("model", {"_name": "wav2vec", "arch": "wav2vec", "conv_feature_layers": "[]"}),
        ("model", {"arch": "fconv", "_name": None}),
        ("task", {"_name": "multilingual_translation"}),
        ("criterion", {"_name": "ctc"}),
        ("bpe", {"_name": "gpt2", "gpt2_encoder_json": "http://localhost/x"}),
    ],
)
def test_a_class_that_is_not_on_the_list_is_not_built(group, change, state, folder, tmp_path):
    part = state["cfg"][group]
    if isinstance(part, argparse.Namespace):
        vars(part).update(change)
    else:
        state["cfg"][group] = {**(part or {}), **change}
    path = save(state, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"would run fairseq\..*--trust-checkpoint"):
        load_model_ensemble_and_task([str(path)], {"data": str(folder / "bin")})


def test_an_old_namespace_is_looked_through(state, folder, tmp_path, mark):
    state["args"] = argparse.Namespace(
        **{**vars(state["cfg"]["model"]), "task": "translation", "criterion": "ctc", "wer_args": CODE}
    )
    del state["cfg"]
    with pytest.raises(UserError, match="'ctc' would run"):
        load_model_ensemble_and_task([str(save(state, tmp_path / "old.pt"))], {"data": str(folder / "bin")})
    assert not mark.exists()


def test_the_task_of_the_command_line_counts(state, folder, command, tmp_path):
    state["cfg"]["task"]["_name"] = "translation_multi_simple_epoch"
    path = save(state, tmp_path / "other.pt")
    assert command("generate", path)[0] in (0, None)  # its task is the command line's
    status, line = command("validate", path)
    assert status == 2 and line


def test_a_class_of_the_users_own_is_built(state, folder, tmp_path):
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.criterions.cross_entropy import CrossEntropyCriterion
    from fairseq.registry import REGISTRIES

    mine = type("Mine", (CrossEntropyCriterion,), {"__module__": "my_user_dir"})
    REGISTRIES["criterion"]["registry"]["mine"] = mine
    try:
        state["cfg"]["criterion"] = {"_name": "mine"}
        load_model_ensemble_and_task([str(save(state, tmp_path / "mine.pt"))], {"data": str(folder / "bin")})
    finally:
        del CRITERION_REGISTRY["mine"]


# --- 2c. places


def test_places_are_dropped(state, folder, tmp_path):
    state["cfg"]["model"].encoder_embed_path = state["cfg"]["model"].decoder_embed_path = "/dev/zero"
    state["cfg"]["bpe"] = {"_name": "sentencepiece", "sentencepiece_model": "/etc/passwd"}
    state["cfg"]["common"]["user_dir"] = str(tmp_path)
    state["cfg"]["generation"]["replace_unk"] = "/dev/zero"
    path = str(save(state, tmp_path / "evil.pt"))
    _, cfg, _ = load_model_ensemble_and_task([path], {"data": str(folder / "bin")})
    assert cfg.model.encoder_embed_path is None and cfg.common.user_dir is None and cfg.generation.replace_unk is None
    assert "sentencepiece_model" not in cfg.bpe and cfg.task.data == str(folder / "bin")


def test_places_that_are_given_count(state, folder, tmp_path):
    state["cfg"]["bpe"] = {"_name": "sentencepiece", "sentencepiece_model": "theirs"}
    path, mine = str(save(state, tmp_path / "evil.pt")), str(tmp_path / "mine")
    given = {"data": str(folder / "bin"), "sentencepiece_model": mine, "encoder_embed_path": None}
    assert load_model_ensemble_and_task([path], given)[1].bpe.sentencepiece_model == mine


def test_the_data_folder_must_be_given(folder):
    path = str(folder / "mt" / "checkpoint_last.pt")
    with pytest.raises(UserError, match="name the data folder"):
        load_model_ensemble_and_task([path])
    load_model_ensemble_and_task([path], {"trust_checkpoint": True})


@pytest.mark.parametrize("group", ["model", "task", "bpe", "common", "generation"])
@pytest.mark.parametrize("value", ["/dev/zero", "../x", "~/x", "http://x/y", "${oc.env:HOME}", "a\\b"])
def test_any_option_that_looks_like_a_place_is_dropped(group, value, state):
    part = state["cfg"][group] = state["cfg"].get(group) or {}
    fields = vars(part) if isinstance(part, argparse.Namespace) else part
    fields |= {"some_option": value, "some_list": ["plain", value]}
    trust.sanitise(state, "evil.pt", {})
    assert not fields.get("some_option") and not fields.get("some_list")
