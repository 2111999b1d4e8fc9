"""How figures look: one colour, dash and marker for each connection everywhere, and how a figure is saved.

The three that the paper compares have three hues of Okabe and Ito's palette, which colour-blind readers tell apart;
the others have colours of Paul Tol's. No two connections share colour, dash and marker. Names that are not here, such
as those of your own methods, get theirs from the name, so that adding one changes no other.
"""

import contextlib
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import check_writable, replacing
from ..common.optional import require, require_extra

#: connection -> label as the papers write it, colour, dash, marker
STYLES = {
    "post": ("Post-LN", "#D55E00", "--", "o"),
    "pre": ("Pre-LN", "#0072B2", "-.", "s"),
    "b2t": ("B2T connection", "#009E73", "-", "^"),
    "b2t_no_ln": ("B2T w/o LN", "#44AA99", "--", "v"),
    "b2t_all": ("B2T around all LNs", "#117733", ":", "<"),
    "deepnet": ("DeepNet", "#CC79A7", "-", "D"),
    "admin": ("Admin", "#E69F00", "-", "P"),
    "tfixup": ("T-Fixup", "#56B4E9", "--", "X"),
    "dlcl_pre": ("DLCL (Pre-LN)", "#332288", "-.", "p"),
    "dlcl_post": ("DLCL (Post-LN)", "#882255", "--", "h"),
    "resi_dual": ("ResiDual", "#999933", "-", ">"),
    "sub_ln": ("Sub-LN", "#AA4499", "-.", "*"),
    "peri": ("Peri-LN", "#000000", "-", "d"),
    "mix": ("Mix-LN", "#B39B2E", "--", "H"),
    "ln_scaling": ("LayerNorm Scaling", "#6699CC", ":", "8"),
    "hybrid": ("HybridNorm", "#CC6677", "-.", "o"),
    "hybrid_star": ("HybridNorm*", "#661100", ":", "s"),
    "keel": ("Keel", "#4B4B8F", "-", "o"),
    "span": ("SpanNorm", "#7F7F7F", "--", "^"),
    "siamese": ("SiameseNorm", "#AA4466", ":", "D"),
    "res_post": ("Res-Post-LN", "#994F00", "-.", "P"),
    "complete_p": ("CompleteP", "#228833", "-.", "X"),
    "hyper": ("Hyper-Connections", "#C1272D", "-", "p"),
    "mhc": ("mHC", "#555555", ":", "h"),
    "attn_res": ("Attention Residuals", "#006CD1", ":", "*"),
}
#: for other names
COLOURS = ("#8C510A", "#01665E", "#762A83", "#4D9221", "#B2182B", "#4393C3", "#C51B7D", "#636363")
DASHES = ((0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)), (0, (8, 2)), (0, (1, 2)))
MARKERS = ("1", "2", "3", "4", "+", "x")

FORMATS = (".svg", ".png", ".pdf")
SETTINGS = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "b2t_fairseq",  # the same figure is the same file
}


def label(connection: str) -> str:
    """Return the connection's name as the papers write it."""
    return STYLES[connection][0] if connection in STYLES else connection.removeprefix("arch:")


def colour(connection: str) -> str:
    """Return the connection's colour, the same in every figure."""
    return line(connection)["color"]


def line(connection: str) -> dict[str, Any]:
    """Return the arguments of a matplotlib line for a connection: colour, dash and marker."""
    if connection in STYLES:
        _, colour, dash, marker = STYLES[connection]
    else:
        number = zlib.crc32(connection.encode())
        number, a = divmod(number, len(COLOURS))
        number, b = divmod(number, len(DASHES))
        colour, dash, marker = COLOURS[a], DASHES[b], MARKERS[number % len(MARKERS)]
    return {"color": colour, "linestyle": dash, "marker": marker}


def check_path(path: str | Path, option: str = "--figure") -> None:
    """Refuse a figure's path that cannot be written, before anything is computed.

    Raises:
        UserError: another ending than svg, png or pdf, a place that cannot be written, or no matplotlib.
    """
    require_extra("plots", "figures")
    if Path(path).suffix.lower() not in FORMATS:
        raise UserError(f"{option} {path}: the name must end in {', '.join(FORMATS)}")
    check_writable(path, option)


@contextlib.contextmanager
def drawn(
    path: str | Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (7, 3.4), **options: Any
) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its panels (rows x columns), and write it to `path` when the block is left.

    Args:
        path: ends in .svg, .png or .pdf.
        rows: of panels.
        columns: of panels.
        size: in inches. Seven wide, the letters can be read when the figure is 400 pixels wide.
        **options: of `matplotlib.pyplot.subplots`, such as `sharey="row"`.
    """
    check_path(path)
    matplotlib = require("matplotlib", "plots", "figures")
    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # one of fairseq's files turns DEBUG on for everybody
    pyplot = require("matplotlib.pyplot", "plots", "figures")
    kind = Path(path).suffix.lower()[1:]
    with matplotlib.rc_context(SETTINGS):
        figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, **options)
        try:
            yield figure, panels
            # no time, by which no two files would be equal, and in SVG no addresses: the report names nothing outside
            none = {"svg": ("Date", "Creator", "Format", "Type"), "pdf": ("CreationDate",)}
            metadata = dict.fromkeys(none[kind]) if kind in none else None
            with replacing(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=200, metadata=metadata)
        finally:
            pyplot.close(figure)


def layer_axis(axis: Any, title: str = "layer") -> None:
    """Give an axis of layers whole numbers."""
    ticker = require("matplotlib.ticker", "plots", "figures")
    axis.set_xlabel(title)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=7, min_n_ticks=1))


def legend_below(figure: Any, columns: int = 3) -> None:
    """Put one legend for all panels below them, each label once."""
    entries = {}
    for axis in figure.axes:
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(text, handle)
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(columns, len(entries)))
