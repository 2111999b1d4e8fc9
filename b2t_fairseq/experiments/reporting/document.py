"""A document in blocks, written as Markdown and as one HTML file that needs nothing beside it."""

import html
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ...common.files import write_atomically

STYLE = """\
:root { color-scheme: light; --ink: #1a1a1a; --faint: #666; --line: #d8d8d8; --band: #f5f5f3; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: var(--ink); background: #fff;
  max-width: 1240px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; border-top: 2px solid var(--ink); padding-top: .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p, li { max-width: 75ch; }
nav { font-size: .9rem; column-width: 16rem; margin: 1rem 0; }
nav a { display: block; padding: .1rem 0; break-inside: avoid; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, .text { text-align: left; }
td.text { white-space: normal; min-width: 12rem; }
tbody tr:nth-child(even) { background: var(--band); }
figure { margin: .8rem 0 1.2rem; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption, .note { color: var(--faint); font-size: .88rem; max-width: 75ch; }
code { font-size: .85em; overflow-wrap: anywhere; }
pre { background: var(--band); padding: .6rem; overflow-x: auto; font-size: .8rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; }
.verdict { font-weight: 600; }
@media print { body { max-width: none; font-size: 11px; } h2 { break-after: avoid; } nav { display: none; }
  figure, table { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Heading:
    """A heading; level 2 or 3, and the name that links go to."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph. `code` in backticks; `is_note` sets it smaller."""

    text: str
    is_note: bool = False


@dataclass(frozen=True)
class Table:
    """A table: one line of heads, then rows of texts; `wordy` columns hold sentences."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    wordy: Sequence[int] = ()


@dataclass(frozen=True)
class Picture:
    """An SVG file with the sentence that stands for it where it cannot be seen, and a caption."""

    path: Path
    alternative: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Lines to copy, folded away under a summary."""

    summary: str
    lines: Sequence[str]


Block = Heading | Text | Table | Picture | Code


@dataclass
class Document:
    """A title and blocks.

    Attributes:
        title: of the page.
        blocks: in order.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> None:
        """Add blocks at the end."""
        self.blocks += blocks

    def write(self, folder: Path, stem: str) -> tuple[Path, Path]:
        """Write `stem.md` and `stem.html` into a folder; return both paths."""
        markdown, page = folder / f"{stem}.md", folder / f"{stem}.html"
        write_atomically(markdown, self.markdown(folder))
        write_atomically(page, self.html())
        return markdown, page

    def markdown(self, folder: Path) -> str:
        """Return the document as Markdown; pictures are named by their path from `folder`."""
        parts = [f"# {self.title}"]
        for block in self.blocks:
            if isinstance(block, Heading):
                parts.append(f"{'#' * block.level} {block.text}")
            elif isinstance(block, Text):
                parts.append(block.text)
            elif isinstance(block, Table):
                parts.append(markdown_table(block))
            elif isinstance(block, Picture):
                place = Path(os.path.relpath(block.path, folder)).as_posix()
                parts.append("\n\n".join(filter(None, [f"![{block.alternative}]({place})", block.caption])))
            else:
                lines = "\n".join(block.lines)
                parts.append(f"<details><summary>{block.summary}</summary>\n\n```\n{lines}\n```\n\n</details>")
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the document as one HTML file, with its pictures in it."""
        body = [f"<h1>{marked(self.title)}</h1>", self.contents()]
        for block in self.blocks:
            if isinstance(block, Heading):
                name = f' id="{block.anchor}"' if block.anchor else ""
                body.append(f"<h{block.level}{name}>{marked(block.text)}</h{block.level}>")
            elif isinstance(block, Text):
                body.append(
                    f'<p class="note">{marked(block.text)}</p>' if block.is_note else f"<p>{marked(block.text)}</p>"
                )
            elif isinstance(block, Table):
                body.append(html_table(block))
            elif isinstance(block, Picture):
                # a fifth shorter than in base 64; what is quoted has a meaning in HTML or in an address
                data = quote(" ".join(block.path.read_text(encoding="utf-8").split()), safe=" /:;,=()<>!?'*+-._")
                image = f'<img alt="{html.escape(block.alternative)}" src="data:image/svg+xml,{data}">'
                caption = f"<figcaption>{marked(block.caption)}</figcaption>" if block.caption else ""
                body.append(f"<figure>{image}{caption}</figure>")
            else:
                lines = html.escape("\n".join(block.lines))
                body.append(f"<details><summary>{marked(block.summary)}</summary><pre>{lines}</pre></details>")
        head = (
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self.title)}</title>\n<style>\n{STYLE}</style>\n"
        )
        return head + "<main>\n" + "\n".join(filter(None, body)) + "\n</main>\n</html>\n"

    def contents(self) -> str:
        """Return links to the headings that have a name."""
        named = [block for block in self.blocks if isinstance(block, Heading) and block.anchor]
        links = [f'<a href="#{block.anchor}">{marked(block.text)}</a>' for block in named]
        return f"<nav>{''.join(links)}</nav>" if links else ""


def marked(text: str) -> str:
    """Return text as HTML: `code`, **bold** and *italics* are marked, everything else is shown as it is."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub(r"(?<![\w*])\*(\w[^*]*\w)\*(?![\w*])", r"<em>\1</em>", escaped)  # not the star of HybridNorm*


def markdown_table(table: Table) -> str:
    """Return a table with aligned columns, which reads well as text, too."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [table.head, *table.rows]]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(table.head))]
    rules = [("-" * width if k == 0 or k in table.wordy else "-" * (width - 1) + ":") for k, width in enumerate(widths)]
    lines = [rows[0], rules, *rows[1:]]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def html_table(table: Table) -> str:
    """Return a table that scrolls sideways where the window is narrow."""
    kinds = [' class="text"' if column in table.wordy else "" for column in range(len(table.head))]
    head = "".join(f"<th{kind}>{marked(cell)}</th>" for kind, cell in zip(kinds, table.head, strict=True))
    rows = []
    for row in table.rows:
        cells = [f"<td{kind}>{marked(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
