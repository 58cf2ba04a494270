"""What all drawings share: colours, canvas, legend, and words for those who cannot see them."""

import re
from collections.abc import Iterator

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from effnet_core.study.design import HEADS, SCHEDULERS

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOUR = {"plateau": "#0072B2", "cosine": "#D55E00"}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "os^vPX"
MARKER = {"none": "o", "mlp": "s"}
LONGEST_NAME, SHORT_ENTRY, LONG_ENTRY = 24, 10, 44  # letters
INK, OURS, THEIRS = "#222222", "#0072B2", "#999999"
GRID, BAND = "#e5e5e5", "#eeeeee"
ON_LIGHT = "#1a1a1a"  # text on a pale colour, in any theme
# Viridis in seven steps, none of them too pale for white: an order that greys keep.
DEPTHS = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#7ac142", "#c2a800")
# On a page these follow its theme; elsewhere the colour after the comma stands.
THEMED = {
    INK: "currentColor",
    GRID: f"var(--report-grid, {GRID})",
    BAND: f"var(--report-band, {BAND})",
    **{colour: f"var(--report-depth-{n}, {colour})" for n, colour in enumerate(DEPTHS)},
}

mpl.rcParams.update(
    {
        "font.size": 11,  # of a figure on a page, pixels at least
        "axes.labelsize": 11,
        "legend.fontsize": 11,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.grid": True,
        "grid.color": GRID,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "svg.hashsalt": "effnet",  # the same drawing gives the same file
        "svg.fonttype": "none",  # text stays text, in the font of the page
    }
)


def canvas(width: float, height: float) -> Figure:
    """An empty drawing in inches; its background is that of the page."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def depth_colour(freeze: int) -> str:
    """The colour of a number of frozen stages, the same in every figure."""
    return DEPTHS[freeze % len(DEPTHS)]


def by_head_and_scheduler(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for head in HEADS:
        for scheduler in SCHEDULERS:
            yield head, scheduler, table.query("head == @head and scheduler == @scheduler")


def legend(figure: Figure, *panels: Axes) -> None:
    """One legend below the drawing, each entry once; those that are short side by side."""
    entries = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    longest = max(map(len, entries), default=0)
    columns = 4 if longest <= SHORT_ENTRY else 2 if longest <= LONG_ENTRY else 1
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def logarithmic(axes: Axes) -> None:
    """Make the horizontal axis logarithmic; powers on it would be too small to read."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")


def sentences(table: pd.DataFrame, template: str) -> str:
    """Every row in words, for a drawing's alt text."""
    rows = table.rename(columns=str).to_dict("records")
    words = "; ".join(template.format_map(row) for row in rows) + "."
    return re.sub(r"\(\+?nan to \+?nan\)", "(no interval)", words)


def plain(name: str, longest: int = LONGEST_NAME) -> str:
    """A name for matplotlib: short, and not read as mathematics, which it takes $...$ for.

    Both ends are kept: names of one kind often begin alike.
    """
    end = longest // 3
    short = name if len(name) <= longest else f"{name[: longest - end - 1]}…{name[-end:]}"
    return short.replace("$", r"\$")
