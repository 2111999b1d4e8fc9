"""The list of patches: complete, in one form, applied once, and what `b2t-fairseq patches` says about it."""

import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import b2t_fairseq
from b2t_fairseq import cli, patches
from b2t_fairseq.patches import additions, fixes, listing
from b2t_fairseq.patches.wrap import changes_of

IMPORT_ALONE = """
import inspect, sys, types
package = types.ModuleType("b2t_fairseq")  # in the place of the real one, whose __init__ applies the patches
package.__path__ = [sys.argv[1]]
sys.modules["b2t_fairseq"] = package
import fairseq.models, fairseq.tasks, fairseq.trainer, fairseq.checkpoint_utils
hook = sys.excepthook
import b2t_fairseq.models, b2t_fairseq.init

def ours(value):
    code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
    return hasattr(value, "_b2t_patches") or (code is not None and code.co_filename.startswith(sys.argv[1]))

seen = 0
for name, module in list(sys.modules.items()):
    if name.split(".")[0] in ("fairseq", "fairseq_cli"):
        classes = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == name]
        for owner in (module, *classes):
            for key, value in list(vars(owner).items()):
                value = getattr(value, "__func__", value)
                if inspect.isfunction(value) or inspect.isclass(value):
                    seen += 1
                    if ours(value):
                        print(owner.__name__, key)
assert seen > 5000, seen
assert sys.excepthook is hook
assert not [name for name in sys.modules if name.startswith("b2t_fairseq.patches")]
"""


@pytest.mark.parametrize("patch", patches.PATCHES, ids=lambda patch: patch.__name__.rpartition(".")[2])
def test_every_patch_says_what_why_and_until_when(patch):
    description = listing.describe(patch)
    assert description.what.endswith(".") and description.versions.endswith(".")
    assert listing.first_sentence(description.why).endswith(".")
    if ".fixes." in patch.__name__:
        assert description.unnecessary


def test_the_list_is_what_the_folders_hold():
    for folder in (fixes, additions):
        files = {f"{folder.__name__}.{module.name}" for module in pkgutil.iter_modules(folder.__path__)}
        assert {patch.__name__ for patch in patches.PATCHES if patch.__name__.startswith(folder.__name__)} == files
    assert len(set(patches.PATCHES)) == len(patches.PATCHES)


def resolve(change: str):
    """Return the function that a recorded change names, or None if it names something else."""
    if not change.startswith(("fairseq", "sys.")):
        return None
    owner, _, name = change.rpartition(".")
    attribute = inspect.getattr_static(pkgutil.resolve_name(owner), name)
    return getattr(attribute, "__func__", attribute)


def test_applying_twice_changes_nothing():
    before = {change: resolve(change) for patch in patches.PATCHES for change in changes_of(patch)}
    states = [listing.state(patch) for patch in patches.PATCHES]
    patches.apply()
    assert {change: resolve(change) for patch in patches.PATCHES for change in changes_of(patch)} == before
    assert [listing.state(patch) for patch in patches.PATCHES] == states


def test_every_patch_is_active_or_says_why_not():
    for patch in patches.PATCHES:
        changes = changes_of(patch)
        assert bool(changes) is not (patch.__name__ in patches.NOT_APPLIED), patch.__name__
        for function in filter(None, map(resolve, changes)):
            assert patch.__name__.rpartition(".")[2] in function._b2t_patches


def test_the_command_prints_the_list(capsys):
    assert cli.main(["patches"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].startswith("Python 3.") and ", torch " in lines[0] and ", numpy " in lines[0]
    assert "fairseq" in lines[0] and max(map(len, lines)) <= listing.WIDTH
    names = [patch.__name__.rpartition(".")[2] for patch in patches.PATCHES]
    in_order = [n for kind in ("fixes", "additions") for n in names if f".{kind}." in getattr(patches, n).__name__]
    assert [line for line in lines if line in names] == in_order
    assert text.count("\n  active: ") + text.count("\n  not applied (") == len(names)
    assert "  active: fairseq.data.data_utils.batch_by_size\n" in text
    assert "Unnecessary: with PyPI fairseq 0.12.2" in text


def test_help_and_mistakes(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["patches", "--help"])
    assert "usage: b2t-fairseq patches" in capsys.readouterr().out
    assert cli.main(["patches", "--all"]) == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --all; --help lists the options\n"


def test_a_patch_that_is_not_applied_says_why(monkeypatch):
    absent = ModuleType("b2t_fairseq.patches.additions.absent")
    assert listing.state(absent) == "not needed here"
    monkeypatch.setitem(patches.NOT_APPLIED, absent.__name__, "GPU present")
    assert listing.state(absent) == "not applied (GPU present)"


@pytest.mark.parametrize(
    "text", ["Do it.", "Do it.\n\nVersions: all.", "Do it.\n\nVersions: all.\nWithout it: nothing.\n", ""]
)
def test_another_form_is_refused(text):
    patch = ModuleType("odd", text)
    with pytest.raises(ValueError, match="odd: the docstring lacks"):
        listing.describe(patch)


def test_fields_are_read():
    patch = ModuleType("even", "Do\nit.\n\nWithout it: it `a.b` dies. Often.\n- x\nVersions: all\nof it.\n\nMore.\n")
    assert listing.describe(patch) == ("Do it.", "it `a.b` dies. Often.\n- x", "all of it.", None)
    assert listing.first_sentence("it `a.b` dies. Often.\n- x") == "it `a.b` dies."


def test_importing_models_and_initialisations_changes_nothing_in_fairseq():
    home = str(Path(b2t_fairseq.__path__[0]).resolve())
    done = subprocess.run([sys.executable, "-c", IMPORT_ALONE, home], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr[-3000:]
