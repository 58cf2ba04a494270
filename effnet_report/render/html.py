"""Figures and tables as HTML, each with its finding, its caption and its data to download."""

import base64
import io
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from IPython.display import HTML
from itables.utils import read_package_file
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from effnet_core import paths
from effnet_report.escaping import cell
from effnet_report.evidence import locations
from effnet_report.numbers import number
from effnet_report.render.data_uris import jpeg
from effnet_report.render.drawing import THEMED

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
LARGEST = 1.42  # pixels per point of a drawing: its letters are as large as those of the page


def site() -> Path:
    """Folder of the finished site; the Sphinx extension names it in the environment."""
    return Path(os.environ.get("EFFNET_SITE", paths.ROOT / "_build" / "html"))


def paragraph(sentences: Iterable[str], css: str = "") -> HTML:
    """Sentences as one paragraph; those that are Markup already keep their links."""
    return HTML(Markup('<p class="{}">{}</p>').format(css, Markup(" ").join(sentences)))


PARAGRAPH = Markup("</p><p>")  # in a finding: what follows is about something else


def finding(answer: str, *sentences: str, key: str = "") -> HTML:
    """The sentences that open a page.

    Args:
        answer: the page's answer, set in bold.
        sentences: what follows; `PARAGRAPH` among them begins a new paragraph, see `apart`.
        key: a stable name of what they say.
    """
    text = Markup(" ").join([Markup("<strong>{}</strong>").format(answer), *sentences])
    framed = Markup('<div class="report-finding" data-finding="{}"><p>{}</p></div>')
    return HTML(framed.format(key, text))


def apart(sentences: Iterable[str]) -> Iterator[str]:
    """Sentences as a paragraph of their own in a finding; nothing of none."""
    listed = [*sentences]
    if listed:
        yield from (PARAGRAPH, *listed)


def definition_list(pairs: Iterable[tuple[str, str]]) -> HTML:
    """Questions, each with its answer below it."""
    rows = Markup().join(Markup("<dt>{}</dt><dd>{}</dd>").format(*pair) for pair in pairs)
    return HTML(Markup('<dl class="report-answers">{}</dl>').format(rows))


def listing(sentences: Mapping[str, str]) -> HTML:
    """Sentences as a list, each under a stable name of what it says."""
    items = Markup().join(
        Markup('<li data-finding="{}">{}</li>').format(*pair) for pair in sentences.items()
    )
    return HTML(Markup("<ul>{}</ul>").format(items))


def link(address: str | None, text: object) -> str:
    """A link, or the bare text where there is nothing to link to."""
    return Markup('<a href="{}">{}</a>').format(address, text) if address else escape(text)


def svg(drawing: Figure) -> bytes:
    """A drawing for a file: its text as text, its background white."""
    return _saved(drawing, format="svg", metadata={"Date": None})


def preview(drawing: Figure) -> None:
    """Write the picture that other sites show beside a link to this one."""
    drawing.set_size_inches(8, 4.2)  # 1200 x 630 pixels, as social sites ask for
    folder, name = locations.PREVIEW.split("/")
    write_to_site(folder, name, _saved(drawing, format="png", dpi=150))


def _saved(drawing: Figure, **options: Any) -> bytes:
    """A drawing as a file.

    Matplotlib measures a letter that its font lacks as a box, and warns; a browser has the letter.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from font")
        drawing.savefig(buffer, facecolor="white", **options)
    return buffer.getvalue()


def inline(content: bytes, name: str, alt: str) -> Markup:
    """A drawing as a part of the page, in the page's font and in the colours of its theme.

    Args:
        content: from `svg`.
        name: makes the ids in it unique on the page.
        alt: the same content in words.
    """
    text = content.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    # The first patch is the background.
    text = re.sub(r'(patch_1">\s*<path [^>]*?fill: )#ffffff', r"\1none", text, count=1)
    for colour, themed in THEMED.items():
        text = text.replace(colour, themed)
    points = re.search(r'<svg [^>]*?width="([\d.]+)pt"', text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    # Never narrower than its letters allow, and on a wide screen not larger than the text.
    least = float(points[1]) if points else 0
    size = f"min-width: {least:.0f}px; max-width: {LARGEST * least:.0f}px" if points else ""
    head = Markup('<svg role="img" style="{}" aria-label="{}" ').format(size, alt)
    return head + Markup(text.removeprefix("<svg "))


def figure(
    drawing: Figure,
    name: str,
    *,
    finding: str,
    caption: str,
    alt: str,
    data: pd.DataFrame,
    key: str = "",
) -> HTML:
    """A drawing under the sentence that it shows.

    Its words are computed with it and not typed into the page: where there is nothing to draw,
    there is nothing to say of it.

    Args:
        drawing: without a background of its own.
        name: of its files on the site, without suffix.
        finding: the title: what the reader should see.
        caption: how to read it, in at most two sentences.
        alt: the same content in words and numbers, for those who cannot see it.
        data: what is drawn.
        key: a stable name of the finding, such as `depth:supported`.
    """
    content = svg(drawing)
    files = [_csv(name, data), _download(write_to_site("figures", f"{name}.svg", content), "SVG")]
    shown = Markup('<div class="report-scroll" tabindex="0">{}</div>').format(
        inline(content, name, alt)
    )
    return _framed("Figure", name, Words(finding, caption, key), shown, files)


def pictures(
    tiles: Sequence[tuple[np.ndarray, str]],
    name: str,
    *,
    finding: str,
    caption: str,
    data: pd.DataFrame,
    key: str = "",
) -> HTML:
    """Photographs side by side under a sentence, as many in a row as there is room for.

    Args:
        tiles: images, shape (height, width, 3), uint8, each with the words below it.
        name: of its CSV on the site, without suffix.
        finding: the title: what the reader should see.
        caption: how to read it, in at most two sentences.
        data: one row a picture.
        key: as of `figure`.
    """
    shown = Markup('<div class="report-pictures">{}</div>').format(
        Markup().join(tile(image, words) for image, words in tiles)
    )
    return _framed("Figure", name, Words(finding, caption, key), shown, [_csv(name, data)])


def tile(image: np.ndarray, words: str) -> Markup:
    """One photograph and the words below it, which describe it."""
    height, width = image.shape[:2]
    return Markup(
        '<span class="report-tile"><img src="{}" alt="{}" width="{}" height="{}">{}</span>'
    ).format(jpeg(image), words, width, height, words)


class Words(NamedTuple):
    """What stands above and below a figure or table; arguments of `figure`."""

    finding: str
    caption: str
    key: str


def _framed(kind: str, name: str, words: Words, shown: Markup, files: list[Markup]) -> HTML:
    """A figure or table with its number, title, caption, and a menu of its data.

    The number is filled in when the page is whole, see `jupyter.finish`.
    """
    menu = Markup(
        '<details class="report-menu"><summary>Data</summary>{} <span>Build it again: '
        "<code>EFFNET_STUDY={} jupyter-book build book</code></span></details>"
    ).format(Markup(" ").join(files), os.environ.get("EFFNET_STUDY", "quick"))
    return HTML(
        Markup(
            '<figure class="report-{}" id="{}" data-finding="{}"><p class="report-title">'
            '<span class="report-number">{}</span> {}</p>{}<figcaption>{} {}</figcaption></figure>'
        ).format(*(kind.lower(), name, words.key, kind, words.finding), shown, words.caption, menu)
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
    key: str = "",
) -> HTML:
    """A table under the sentence that it shows.

    Args:
        frame: shown as it is, without its index; a cell may be Markup.
        name: of its CSV on the site, without suffix.
        finding: the title: what the reader should see.
        caption: how to read it, in at most two sentences.
        decimals: of every number that is not whole.
        data: to download, where numbers are shown in words; by default the frame itself.
        filters: columns to choose values of. With any, readers whose browser runs scripts can
            also sort, search, choose columns and copy.
        key: as of `figure`.
    """
    if data is None:
        data = frame.map(lambda value: value.striptags() if isinstance(value, Markup) else value)
    shown = Markup('<div class="report-scroll" tabindex="0">{}</div>').format(rows(frame, decimals))
    framed = _framed("Table", name, Words(finding, caption, key), shown, [_csv(name, data)])
    places = [list(frame.columns).index(column) for column in filters]
    return HTML(Markup(framed.data) + interactive(name, places))


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


def _download(address: str, kind: str) -> Markup:
    return Markup('<a class="download" href="{}" download>{}</a>').format(address, kind)


def write_to_site(folder: str, name: str, content: bytes) -> str:
    """Write a file into the site and return its address, relative to the book's pages."""
    path = site() / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{folder}/{name}"
