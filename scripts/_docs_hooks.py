"""What mkdocs does beyond its plugins: files that stand beside docs/ join the site, and GitHub's Markdown is read.

On GitHub our pages link to `../results/REPORT.md` and to code. Here the former become pages of the site, and a link
to a file that is not in the site becomes plain text. Lists that GitHub takes with two or three spaces get mkdocs' four.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
#: beside docs/, but pages and figures of the site all the same
BESIDE = ("CONTRIBUTING.md", "results/REPORT.md", "results/lab-notes.md", "results/figures/**/*.svg")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
ITEM = re.compile(r"(?:[-*]|\d+\.) +")


def beside() -> list[str]:
    """Return the paths of the files beside docs/ that belong to the site."""
    return [str(path.relative_to(ROOT)) for pattern in BESIDE for path in sorted(ROOT.glob(pattern))]


def on_files(files, config):
    """Add the files beside docs/."""
    for name in beside():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite a page's links and its lists."""
    uri = page.file.src_uri
    if uri.endswith(".ipynb"):
        return markdown
    folder = posixpath.dirname(uri if uri in beside() else f"docs/{uri}")
    return indent_lists(LINK.sub(lambda link: rewritten(link, folder, posixpath.dirname(uri)), markdown))


def rewritten(link: re.Match, folder: str, here: str) -> str:
    """Return a link as it is in the site.

    Args:
        link: what `LINK` matched.
        folder: of the page in the repository.
        here: of the page in the site.
    """
    mark, text, target = link.groups()
    if re.match(r"[a-z]+:|#", target):
        return link[0]
    found = place(target, folder, here)
    return text if found is None else f"{mark}[{text}]({found})"


def place(target: str, folder: str, here: str) -> str | None:
    """Return where a link leads in the site, or None if it leads to a file that is not in the site."""
    path, hash_, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(folder, path))
    if path.startswith("docs/"):
        path = path.removeprefix("docs/")
    elif path not in beside():
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{folder}: the link to {target} leads nowhere")
        return None
    return f"{posixpath.relpath(path, here or '.')}{hash_}{anchor}"


def on_page_content(html, page, config, files):
    """Rewrite a notebook's links, which mkdocs does not see."""
    uri = page.file.src_uri
    if not uri.endswith(".ipynb"):
        return html
    folder = posixpath.dirname(uri)

    def link(found: re.Match) -> str:
        target = place(found[1], f"docs/{folder}", folder)
        source = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if files.get_file_from_path(source) is None:
            raise FileNotFoundError(f"{uri}: the link to {found[1]} leads nowhere")
        return f'href="{target.replace(".md", ".html")}"'

    return re.sub(r'href="(\.\./[^"]+\.md[^"]*)"', link, html)


def indent_lists(markdown: str) -> str:
    """Return the text with what belongs to a list's item indented by four spaces."""
    lines, width, fenced = [], 0, False
    for line in markdown.split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        item = None if fenced else ITEM.match(line)
        if item:
            width = len(item[0])
        elif line and not line.startswith(" "):
            width = 0
        elif width and line.startswith(" " * width) and not fenced:
            line = "    " + line[width:]
        lines.append(line)
    return "\n".join(lines)
