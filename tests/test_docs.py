"""What the documentation names exists: links, paths, functions, commands; and it keeps to its own rules of writing."""

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from b2t_fairseq.commands.table import FAIRSEQ_COMMANDS, OUR_COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "b2t_fairseq"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
NOTES = {"results/lab-notes.md": (ROOT / "results/lab-notes.md").read_text(encoding="utf-8")}
RECIPES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ROOT.glob("configs/*/*.yaml")}
TOP = "|".join(("b2t_fairseq", "scripts", "configs", "tests", "benchmarks", "docs", "results"))
IS_PLACEHOLDER = re.compile(r"[A-Z]{2,}|[*{…]")  # NAME.py, train_*.sh
BANNED = (
    r"\bmend(s|ed|ing)?\b",
    r"\b(?<!there )(is|are|was) no (?!longer\b|more\b)",
    r"\b(go|goes|going|went) on\b",
    r"\bat hand\b",
    r"\ba sentence\b",
    r"\bseams?\b",
    r"\bhang(s)? on\b",
    r"\bhas met a\b",
    r"'s business\b",
)

pages = pytest.mark.parametrize("page", PAGES)
pages_and_notes = pytest.mark.parametrize("page", {**PAGES, **NOTES})


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages_and_notes
def test_relative_links_lead_somewhere(page):
    text = {**PAGES, **NOTES}[page]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {target}"


@pages
def test_named_paths_exist(page):
    paths = re.findall(rf"(?<![\w/.-])((?:{TOP})/[\w./*{{}}…-]*)", PAGES[page])
    paths = [path.rstrip(".") for path in paths if not IS_PLACEHOLDER.search(path)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pages
def test_named_functions_exist(page):
    """`layers/stack.py:Stack.forward`, relative to the package or to the repository."""
    for file, name in re.findall(r"`([\w/.]+\.py):([\w.]+)`", PAGES[page]):
        path = next((folder / file for folder in (PACKAGE, ROOT) if (folder / file).is_file()), None)
        assert path, f"{page}: there is no {file}"
        code = path.read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"^\s*(?:def|class) {part}\b", code, re.M), f"{page}: {file} has no {part}"


@pages
def test_named_commands_exist(page):
    text = PAGES[page]
    words = re.findall(r"(?:b2t-fairseq|-m b2t_fairseq(?:\.cli)?) +([a-z][a-z-]*)", text)
    assert [word for word in words if word not in {*FAIRSEQ_COMMANDS, *OUR_COMMANDS}] == []
    for module in re.findall(r"python -m ((?:b2t_fairseq|benchmarks)[\w.]*)", text):
        assert importlib.util.find_spec(module.rstrip(".")), f"{page}: {module}"


@pages_and_notes
def test_the_writing_is_plain(page):
    for pattern in BANNED:
        assert re.search(pattern, {**PAGES, **NOTES}[page], re.I) is None, f"{page}: {pattern}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_comments_of_recipes_are_plain(recipe):
    comments = "\n".join(re.findall(r"#.*", RECIPES[recipe]))
    for pattern in BANNED:
        assert re.search(pattern, comments, re.I) is None, f"{recipe}: {pattern}"
    assert max(map(len, RECIPES[recipe].splitlines())) <= 120


@pages_and_notes
def test_lines_fit(page):
    """But for rows of tables and links, which cannot be broken."""
    lines = {**PAGES, **NOTES}[page].splitlines()
    long = [line for line in lines if len(line) > 120 and not line.startswith("|") and "://" not in line]
    assert long == []


def test_the_readme_is_short_and_begins_with_the_idea():
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 200
    first_screen = "\n".join(lines[:50])
    assert "LN(b + x + F(x))" in first_screen and "b2t_fairseq/connections/b2t.py" in first_screen
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    former_names = {"compat", "reproduce"}
    assert [room for room in sorted(rooms - former_names) if f" {room}/" not in first_screen] == []


def test_the_readme_lists_every_connection():
    from builders import ALL_CONNECTIONS

    rows = "\n".join(line.split("|")[1] for line in PAGES["README.md"].splitlines() if line.startswith("| `"))
    assert [name for name in ALL_CONNECTIONS if f"`{name}`" not in rows] == []


def test_install_lines_without_isolation_install_what_builds():
    """pip builds with what the environment has then, and a fresh one of Python 3.10 lacks wheel."""
    rows = [line for line in PAGES["README.md"].splitlines() if "--no-build-isolation" in line]
    assert len(rows) >= 2 and [row for row in rows if '"setuptools>=64" wheel' not in row] == []


def test_the_configuration_page_lists_every_option_of_a_model():
    from b2t_fairseq.models.options import add_connection_args

    parser = argparse.ArgumentParser(add_help=False)
    add_connection_args(parser)
    rows = "\n".join(line for line in PAGES["docs/configuration.md"].splitlines() if line.startswith("| `--"))
    options = [action.option_strings[0] for action in parser._actions]
    assert len(options) > 5 and [option for option in options if f"`{option}" not in rows] == []


def bash_block(text: str, heading: str) -> str:
    """The first block of shell commands below a heading."""
    return re.search(rf"^## {heading}\n.*?^```bash\n(.*?)^```", text, re.M | re.S)[1]


@pytest.mark.slow
def test_the_commands_of_the_readme_end_in_a_score(tmp_path):
    """All of them as they stand, but for a smaller model and training; the translation page has the same ones."""
    from b2t_fairseq.corpora.embedded import english_german

    (tmp_path / "text").mkdir()
    pairs = english_german.generate(seed=1)["train"]
    for split, part in {"train": pairs[:300], "valid": pairs[300:320], "test": pairs[320:340]}.items():
        for side, language in enumerate(("en", "de")):
            lines = "".join(f"{pair[side]}\n" for pair in part)
            (tmp_path / "text" / f"{split}.{language}").write_text(lines, encoding="utf-8")
    text = PAGES["README.md"]
    commands = bash_block(text, "Your own text, step by step")
    assert commands == bash_block(PAGES["docs/translation.md"], "By hand")
    for stands, runs in {
        "vocab_size=8000": "vocab_size=300",
        "transformer_b2t_18_18": "transformer_b2t_6_6_tiny --encoder-layers 1 --decoder-layers 1",
        "--max-update 50000": "--max-epoch 2 --cpu",
        "--num-epoch-checkpoints 10": "--num-epoch-checkpoints 2",
        "--beam 4": "--beam 2 --cpu --max-len-b 10",
    }.items():
        assert commands.count(stands) == 1, stands
        commands = commands.replace(stands, runs)
    commands = commands.replace("b2t-fairseq ", f"{sys.executable} -m b2t_fairseq ")
    commands = commands.replace("python - <<", f"{sys.executable} - <<")
    (python,) = re.findall(r"^```python\n(import b2t_fairseq\n\nmodel = b2t_fairseq\.load.*?)```", text, re.M | re.S)
    script = f"set -euo pipefail\n{commands}\n{sys.executable} -c {shlex.quote(python)}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    bleu, translation, signature = done.stdout.splitlines()[-3:]
    assert re.search(r"checkpoint:checkpoints/average.pt \| connection:b2t\|.*\| nrefs:1\|case:mixed", bleu), bleu
    assert translation.startswith(("['", '["')) and signature.startswith("connection:b2t|init:default|layers:")


needs_mkdocs = pytest.mark.skipif(
    not importlib.util.find_spec("mkdocs"), reason="mkdocs is not installed: pip install -r docs/requirements.txt"
)


@needs_mkdocs
def test_the_site_builds_without_a_warning(tmp_path):
    """A dead link, a page outside the navigation or a name that mkdocstrings does not find ends the build."""
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site")
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page: (tmp_path / "site" / page).read_text(encoding="utf-8") for page in ("index.html", "api.html")}
    assert 'src="results/figures/laptop/figure3-w512.svg"' in pages["index.html"]
    assert (tmp_path / "site/results/figures/laptop/figure3-w512.svg").is_file()
    for name in ("StackConfig", "Connection", "make_norm", "initialise", "Stack", "UserError"):
        assert re.search(rf'id="b2t_fairseq\.[\w.]*\b{name}"', pages["api.html"]), name
    notebook = (tmp_path / "site" / "notebooks" / "first_steps.html").read_text(encoding="utf-8")
    for link in ("../translation.html", "../gallery.html", "../own_connection.html", "../results/REPORT.html"):
        assert f'href="{link}"' in notebook and (tmp_path / "site" / "notebooks" / link).is_file()
    adding = (tmp_path / "site" / "adding.html").read_text(encoding="utf-8")
    assert "```" not in re.sub(r"<code>.*?</code>", "", adding), "a block of code inside a list is shown as text"


@needs_mkdocs
def test_a_broken_link_ends_the_build(tmp_path):
    for name in ("mkdocs.yml", "docs", "scripts", "results", "CONTRIBUTING.md", "b2t_fairseq", "configs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").unlink()
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "norms.md").open("a") as page:
        page.write("\n[nowhere](speed.md#no-such-heading)\n")
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site")
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "no-such-heading" in done.stdout + done.stderr


@needs_mkdocs
def test_links_and_lists_become_the_sites():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "_docs_hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)

    def link(text: str, folder: str, here: str) -> str:
        return hooks.LINK.sub(lambda found: hooks.rewritten(found, folder, here), text)

    assert link("[a](../results/REPORT.md#x)", "docs", "") == "[a](results/REPORT.md#x)"
    assert link("![a](figures/laptop/figure3-w512.svg)", "results", "results") == (
        "![a](figures/laptop/figure3-w512.svg)"
    )
    assert link("[a](../docs/speed.md)", "results", "results") == "[a](../speed.md)"
    assert link("[a](../norms.md)", "docs/connections", "connections") == "[a](../norms.md)"
    assert link("[`a`](../configs/laptop)", "docs", "") == "`a`", "not in the site"
    assert link("[a](https://b.org/c.md)", "docs", "") == "[a](https://b.org/c.md)"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        link("[a](../results/none.md)", "docs", "")
    assert hooks.indent_lists("1. a\n   b\n\n   ```\n   c\n   ```\n- d\n  - e\nf\n  g") == (
        "1. a\n    b\n\n    ```\n    c\n    ```\n- d\n    - e\nf\n  g"
    )
    assert hooks.indent_lists("```\n- a\n  b\n```") == "```\n- a\n  b\n```"
