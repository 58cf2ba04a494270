"""Text of unknown origin, such as names of files and classes, made harmless where it is shown.

For each kind of output there is one function. HTML has its own (`markupsafe`, see `render.html`).
"""

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.errors import MarkupError
from rich.text import Text

# Control characters but line feed and tab, marks that change the direction of text, characters
# without a width, and bytes of names that are not UTF-8.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# What a spreadsheet takes for a formula (OWASP, "CSV injection").
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

LISTED = 10  # names


def printable(text: str) -> str:
    """Text for a terminal: what would act there is shown as Python writes it in a string."""
    return CONTROLS.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    letter = found[0]
    if "\udc80" <= letter <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def cell(value: Any) -> Any:
    """A value for a CSV file: text that a spreadsheet would compute begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(FORMULA) else printable(value)


def markdown(text: str) -> str:
    """Text on one line of Markdown, where nothing in it makes a link, code or HTML."""
    return re.sub(r"([\\`*{}\[\]<>|~$!&])", r"\\\1", " ".join(printable(text).split()))


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


class Terminal(Console):
    """A console on which no text acts: it may hold markup of Rich, but no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As Rich does it, also for the cells of a table; broken markup is shown as it is."""
        shown = printable(text)
        try:
            return super().render_str(shown, **options)
        except MarkupError:
            return super().render_str(shown, **{**options, "markup": False})
