"""Last touches to a finished page: numbers of figures and tables, unbroken units, its footer."""

import re
from collections import Counter
from datetime import datetime
from functools import cache
from importlib import metadata

from markupsafe import Markup

from effnet_report.evidence import loader

NUMBERED = re.compile(r'<span class="report-number">(Figure|Table)</span>')
UNITS = "%|px|s|ms|min|h|kB|MB|GB|points?|stages?|images?|epochs?|seeds?|runs?|hours?|minutes?"
BEFORE_UNIT = re.compile(rf"(?<=\d) (?=(?:{UNITS})\b|%)|(?<=%) (?=CI\b)|(?<=±) (?=\d)")
FINDING = re.compile(r'class="report-finding"[^>]*>(.*?)</div>', re.DOTALL)
TAG = re.compile(r"(<(?:pre|script|style|svg)\b.*?</(?:pre|script|style|svg)>|<[^>]*>)", re.DOTALL)


def numbered(body: str) -> str:
    """Give figures and tables their numbers, each kind from 1 on every page."""
    count: Counter[str] = Counter()

    def number(match: re.Match[str]) -> str:
        count[match[1]] += 1
        return f'<span class="report-number">{match[1]} {count[match[1]]}.</span>'

    return NUMBERED.sub(number, body)


def unbroken(body: str) -> str:
    """Keep numbers and their units on one line."""
    pieces = TAG.split(body)
    pieces[::2] = [BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text) for text in pieces[::2]]
    return "".join(pieces)


def described(title: str, body: str, picture: str = "") -> str:
    """Tags that describe a page where it is linked to: title, opening sentences and picture.

    Empty for a page that opens with no sentences of its own.

    Args:
        picture: its address, or nothing.
    """
    first = FINDING.search(body)
    if not first:
        return ""
    words, name = (" ".join(Markup(text).striptags().split()) for text in (first[1], title))
    tags = Markup(
        '<meta name="description" content="{0}"><meta property="og:title" content="{1}">'
        '<meta property="og:description" content="{0}">'
    ).format(words, name)
    if picture:
        tags += Markup(
            '<meta property="og:image" content="{}">'
            '<meta name="twitter:card" content="summary_large_image">'
        ).format(picture)
    return tags


@cache
def newest(studies: tuple[str, ...]) -> str:
    """The day of the newest record of some studies, as in `29 November 2026`; or nothing."""
    finished = [
        record.made.finished for study in studies for record in loader.load(study).believed.values()
    ]
    return f"{datetime.fromisoformat(max(finished)):%-d %B %Y}" if finished else ""


def footer(day: str, sources: str) -> str:
    """From which version and records the report was made; its authors stand above.

    Args:
        day: from `newest`.
        sources: address of the page that says how to cite it.
    """
    records = f", records of {day}" if day else ""
    return Markup('Version {}{}. <a href="{}">Sources and how to cite</a>').format(
        metadata.version("effnet-report"), records, sources
    )
