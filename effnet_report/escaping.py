"""Escape text of unknown origin, such as names of files and classes, for each kind of output.

HTML is escaped by `markupsafe`, see `render.html`.
"""

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.errors import MarkupError
from rich.text import Text

# Control characters except line feed and tab, marks that change the direction of text, invisible
# characters, and bytes of names that are not UTF-8.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# First characters of formulas in spreadsheets (OWASP, "CSV injection").
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)

LISTED = 10  # names


def printable(text: str) -> str:
    """Escape text for a terminal; control characters are shown as in a Python string."""
    return CONTROLS.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    letter = match[0]
    if "\udc80" <= letter <= "\udcff":  # Python's form of bytes that are not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def cell(value: Any) -> Any:
    """Escape a value for a CSV file."""
    return printable(label_cell(value)) if isinstance(value, str) else value


def label_cell(label: str) -> str:
    """A label for a CSV file; an apostrophe precedes one that looks like a formula.

    Tables of images are read without it. Classes are often called +1 and -1, and numbers compute
    nothing.
    """
    is_formula = label.startswith(FORMULA) and not NUMBER.fullmatch(label)
    return f"'{label}" if is_formula else label


def path_cell(path: str) -> str:
    """A path for a CSV file, to the same file; `./` precedes one that looks like a formula."""
    return f"./{path}" if path.startswith(FORMULA) else path


def markdown(text: str) -> str:
    """Escape text for one line of Markdown, without links, code and HTML."""
    return re.sub(r"([\\`*{}\[\]<>|~$!&])", r"\\\1", " ".join(printable(text).split()))


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and the number of the others."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


class Terminal(Console):
    """A console that accepts markup of Rich but escapes control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render text as Rich does, also in cells of a table; show broken markup unchanged."""
        shown = printable(text)
        try:
            return super().render_str(shown, **options)
        except MarkupError:
            return super().render_str(shown, **{**options, "markup": False})
