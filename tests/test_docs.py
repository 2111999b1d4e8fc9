"""What the documentation names exists: links, paths, functions, commands; and it keeps to its own rules of writing."""

import importlib.util
import re
from pathlib import Path

import pytest

from b2t_fairseq.cli import FAIRSEQ_COMMANDS, OUR_COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "b2t_fairseq"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
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
