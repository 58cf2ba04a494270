"""One page of images with words beneath them, in one file that opens without a network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import Markup

from effnet_core.errors import InputError
from effnet_report.escaping import printable
from effnet_report.render.data_uris import jpeg

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --soft: #5c5c5c; --line: #d5d5d5;
  --bar: #0072b2; --note: #a34700; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #ececec; --soft: #a9a9a9;
  --line: #3a3d42; --bar: #56b4e9; --note: #f0a35e; } }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
.intro { color: var(--soft); max-width: 60rem; margin: 0 0 1rem; }
ul { display: grid; gap: 1rem; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
li { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; }
.views { display: flex; gap: .4rem; }
.views img { width: 100%; min-width: 0; aspect-ratio: 1; border-radius: .25rem; }
h2 { font-size: 1.05rem; margin: .4rem 0 0; overflow-wrap: anywhere; }
p { margin: .2rem 0; overflow-wrap: anywhere; }
.name { color: var(--soft); font-size: .85rem; }
.note { color: var(--note); font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(0, 7rem) 1fr 3rem; gap: .15rem .4rem;
  margin: .4rem 0; font-size: .9rem; align-items: center; }
dt { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
dd { margin: 0; text-align: right; }
meter { width: 100%; accent-color: var(--bar); }
"""


# How every page begins; a file that begins otherwise is somebody else's.
OPENING = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="generator" content="effnet-report">'
)


@dataclass(frozen=True)
class Card:
    """An image and what there is to say of it.

    Attributes:
        name: of its file.
        title: what matters most.
        views: the image, and drawings of it; each shape (side, side, 3), uint8.
        shares: of classes, 0..1.
        notes: what to look out for.
    """

    name: str
    title: str
    views: list[np.ndarray] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def page(title: str, intro: Iterable[str], cards: Iterable[Card]) -> Iterator[str]:
    """The page, piece by piece: of thousands of cards only one is held in memory."""
    yield OPENING
    yield Markup(
        "<title>{}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>{}</style></head><body><main><h1>{}</h1>"
    ).format(title, Markup(STYLE), title)
    for sentence in intro:
        yield Markup('<p class="intro">{}</p>').format(sentence)
    yield "<ul>\n"
    for card in cards:
        yield _item(card)
    yield "</ul></main></body></html>\n"


def check_replaceable(path: Path) -> None:
    """Make sure that a page written to this path replaces nothing but an earlier page.

    Raises:
        InputError: another file or a folder is there.
    """
    try:
        with path.open("rb") as file:
            earlier = file.read(len(OPENING)) == OPENING.encode()
    except FileNotFoundError:
        return
    except OSError:
        earlier = False
    if not earlier:
        raise InputError(
            f"{path} exists and is not a page of this program, so it is not replaced. Give the "
            "page another name."
        )


def _item(card: Card) -> str:
    name = printable(card.name)
    views = Markup().join(
        Markup('<img src="{}" alt="{}" loading="lazy">').format(jpeg(view), "" if number else name)
        for number, view in enumerate(card.views)
    )
    shares = Markup().join(
        Markup(
            '<dt title="{0}">{0}</dt><dd><meter value="{1:.3f}" title="{0}"></meter></dd>'
            "<dd>{2:.0f} %</dd>"
        ).format(kind, share, 100 * share)
        for kind, share in card.shares.items()
    )
    notes = Markup().join(
        Markup('<p class="note">{}</p>').format(printable(note)) for note in card.notes
    )
    rows = Markup("<dl>{}</dl>").format(shares) if shares else ""
    return Markup(
        '<li><div class="views">{}</div><h2>{}</h2>{}{}<p class="name">{}</p></li>\n'
    ).format(views, card.title, notes, rows, name)
