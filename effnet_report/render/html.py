"""Figures and tables as HTML, each with its finding, its caption and its data to download."""

import base64
import io
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from IPython.display import HTML
from itables.utils import read_package_file
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from effnet_core import paths
from effnet_report.escaping import cell
from effnet_report.numbers import number

# Base64 of a module and JSON of its styles go in.
LIBRARY = """{
  const code = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  window.itables = import(address);
  const style = document.createElement("style");
  style.textContent = %s;
  document.head.prepend(style);
}
"""
# Where pyarrow is installed, pandas would keep text there, and Markup would come back as text.
pd.set_option("mode.string_storage", "python")
WRAP = 20  # characters; longer cells may take several lines


def site() -> Path:
    """Folder of the finished site; the Sphinx extension names it in the environment."""
    return Path(os.environ.get("EFFNET_SITE", paths.ROOT / "_build" / "html"))


def paragraph(sentences: Iterable[str], css: str = "") -> HTML:
    """Sentences as one paragraph; those that are Markup already keep their links."""
    return HTML(Markup('<p class="{}">{}</p>').format(css, Markup(" ").join(sentences)))


def finding(*sentences: str) -> HTML:
    """The sentences that open a page."""
    return paragraph(sentences, css="report-finding")


def definition_list(pairs: Iterable[tuple[str, str]]) -> HTML:
    """Questions, each with its answer below it."""
    rows = Markup().join(Markup("<dt>{}</dt><dd>{}</dd>").format(*pair) for pair in pairs)
    return HTML(Markup('<dl class="report-answers">{}</dl>').format(rows))


def listing(sentences: Iterable[str]) -> HTML:
    """Sentences, one an item of a list."""
    items = Markup().join(Markup("<li>{}</li>").format(sentence) for sentence in sentences)
    return HTML(Markup("<ul>{}</ul>").format(items))


def link(address: str | None, text: object) -> str:
    """A link, or the bare text where there is nothing to link to."""
    return Markup('<a href="{}">{}</a>').format(address, text) if address else escape(text)


def svg(drawing: Figure) -> bytes:
    """A drawing as paths; as text where matplotlib's font lacks a letter, as the browser's has it.

    Class names are in any script. Matplotlib measures a letter that it lacks as a box, and warns.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        content = _saved(drawing)
    if any("missing from font" in str(warning.message) for warning in told):
        with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none"}):
            warnings.simplefilter("ignore")
            content = _saved(drawing)
    return content


def _saved(drawing: Figure) -> bytes:
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def figure(
    drawing: Figure, name: str, *, finding: str, caption: str, alt: str, data: pd.DataFrame
) -> HTML:
    """A drawing under the sentence that it shows.

    Its words are computed with it and not typed into the page: where there is nothing to draw,
    there is nothing to say of it.

    Args:
        drawing: its background is part of it.
        name: of its files on the site, without suffix.
        finding: the title: what the reader should see.
        caption: how to read it.
        alt: the same content in words and numbers, for those who cannot see it.
        data: what is drawn.
    """
    image = write_to_site("figures", f"{name}.svg", svg(drawing))
    return HTML(
        Markup(
            '<figure class="report-figure" id="{}"><p class="report-title">{}</p>'
            '<div class="report-scroll" tabindex="0"><img src="{}" alt="{}"></div>'
            "<figcaption>{} {} {} {}</figcaption></figure>"
        ).format(
            *(name, finding, image, alt, caption),
            *(_csv(name, data), _download(image, "SVG"), _remake()),
        )
    )


def table(
    frame: pd.DataFrame,
    name: str,
    *,
    finding: str,
    caption: str,
    decimals: int = 1,
    data: pd.DataFrame | None = None,
    filters: Sequence[str] = (),
) -> HTML:
    """A table under the sentence that it shows.

    Args:
        frame: shown as it is, without its index; a cell may be Markup.
        name: of its CSV on the site, without suffix.
        finding: the title: what the reader should see.
        caption: how to read it.
        decimals: of every number that is not whole.
        data: to download, where numbers are shown in words; by default the frame itself.
        filters: columns to choose values of. With any, readers whose browser runs scripts can
            also sort, search, choose columns and copy.
    """
    if data is None:
        data = frame.map(lambda value: value.striptags() if isinstance(value, Markup) else value)
    return HTML(
        Markup(
            '<figure class="report-table" id="{}"><p class="report-title">{}</p>'
            '<div class="report-scroll" tabindex="0">{}</div>'
            "<figcaption>{} {} {}</figcaption></figure>{}"
        ).format(
            *(name, finding, rows(frame, decimals), caption, _csv(name, data), _remake()),
            interactive(name, [list(frame.columns).index(column) for column in filters]),
        )
    )


def rows(frame: pd.DataFrame, decimals: int = 1) -> Markup:
    """A table alone; cells as in `table`."""
    head = Markup().join(Markup('<th scope="col">{}</th>').format(name) for name in frame.columns)
    body = Markup().join(
        Markup("<tr>{}</tr>").format(Markup().join(_cell(value, decimals) for value in row))
        for row in frame.itertuples(index=False)
    )
    return Markup(
        '<table class="table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
    ).format(head, body)


def interactive(name: str, filters: Sequence[int]) -> Markup:
    """Scripts that turn a table of the page into one to sort, filter and search.

    The library is itables' own bundle, kept beside the pages as a script that works from the
    disk too, where browsers refuse modules.

    Args:
        name: id of the figure that holds the table.
        filters: places of the columns to filter by; none leaves the table as it is.
    """
    if not filters:
        return Markup()
    bundle = read_package_file("html/dt_bundle.js")
    styles = read_package_file("html/dt_bundle.css")
    packed = (base64.b64encode(bundle.encode()).decode(), json.dumps(styles))
    library = write_to_site("scripts", "itables.js", (LIBRARY % packed).encode())
    options = {
        "paging": False,
        "info": False,
        "autoWidth": False,
        "order": [],
        "layout": {
            "topStart": {"buttons": ["colvis", "copy", {"extend": "csv", "filename": name}]},
            "topEnd": "search",
        },
        "columnDefs": [{"targets": filters, "columnControl": [["searchList"]]}],
    }
    return Markup(
        '<script src="{}" defer></script>'
        '<script>addEventListener("DOMContentLoaded", async () => '
        "new (await window.itables).ITable("
        'document.querySelector("#{} table"), {}));</script>'
    ).format(library, name, Markup(json.dumps(options)))


def _cell(value: object, decimals: int) -> Markup:
    if isinstance(value, float):
        return Markup('<td class="number">{}</td>').format(number(value, decimals))
    if isinstance(value, int):
        return Markup('<td class="number">{}</td>').format(f"{value:,}")
    wrap = "text" if len(Markup(value).striptags()) > WRAP else ""
    return Markup('<td class="{}">{}</td>').format(wrap, value)


def _csv(name: str, data: pd.DataFrame) -> Markup:
    safe = data.map(cell).rename(columns=cell)
    return _download(write_to_site("data", f"{name}.csv", safe.to_csv(index=False).encode()), "CSV")


def _remake() -> Markup:
    study = os.environ.get("EFFNET_STUDY", "quick")
    return Markup(
        '<details class="remake"><summary>How to remake it</summary>'
        "<code>EFFNET_STUDY={} jupyter-book build book</code></details>"
    ).format(study)


def _download(address: str, kind: str) -> Markup:
    return Markup('<a class="download" href="{}" download>{}</a>').format(address, kind)


def write_to_site(folder: str, name: str, content: bytes) -> str:
    """Write a file into the site and return its address, relative to the book's pages."""
    path = site() / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{folder}/{name}"
