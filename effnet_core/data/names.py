"""Compare names of classes and objects the way people read them."""

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal, InvalidOperation

from effnet_core.errors import InputError

# Cyrillic and Greek letters that look like Latin ones; forms of the apostrophe and the hyphen.
TWINS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u03bf"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0391\u0392\u0395\u039f",
    "aeopcyxijsoABEKMHOPCTXABEO",
) | str.maketrans(
    "\u2018\u2019\u02bc\u00b4`\u2010\u2011\u2012\u2013\u2014\u2212",
    "'" * 5 + "-" * 6,
)
# As `effnet audit` and other programs write text that looks like a formula.
QUOTED = re.compile("'[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# Names that programs and people give to what they do not know.
NOT_KNOWN = {
    *("nan", "na", "n/a", "n.a.", "null", "nil", "?", "??", "unknown", "unlabeled", "undefined"),
    *("not known", "not available", "tbd", "no label", "unlabelled", "unclassified", "unsorted"),
    *("to label", "not labeled", "trash"),
}
# Ends of names for further versions of the same images, such as `cat - Copy (2)`.
VERSION = re.compile(
    r"([\W_]+(copy|copies|kopie|copie|copia|aug|augmented|resized|cropped|flipped|rotated|backup"
    r"|bak|zip))*([\W_]*\(\d+\))?$",
    re.IGNORECASE,
)


def normalised(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), with surplus blanks removed."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def shown(name: str) -> str:
    """A name in which nothing acts on a terminal."""
    return repr(name)[1:-1]


def unquoted(text: str) -> str:
    """Return text without the apostrophe that keeps a spreadsheet from computing it."""
    return text[1:] if QUOTED.match(text) else text


def is_not_known(name: str) -> bool:
    """Whether a name says that something is not known, such as `nan` or `?`."""
    return normalised(name.replace("_", " ")).lower() in NOT_KNOWN


def likeness(name: str) -> str:
    """Return a key that is equal for names that look alike.

    Case, blanks, underscores, Unicode forms and invisible letters are ignored, letters that look
    Latin count as Latin, all apostrophes and hyphens are equal, and `1` equals `1.0`.
    """
    latin = unicodedata.normalize("NFKC", name).translate(TWINS)
    folded = unicodedata.normalize("NFKC", latin.casefold())
    seen = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")
    bare = re.sub(r"[\s_]", "", seen)
    number = re.fullmatch(r"([+-]?)0*(\d+?)(?:\.(\d*?)0*)?", bare)
    if not number:
        return bare
    sign, whole, fraction = number.groups()
    return sign.replace("+", "") + whole + (f".{fraction}" if fraction else "")


def singular(name: str) -> str:
    """Return a key that is equal for names that look alike, and for `cat` and `Cats`."""
    key = likeness(name)
    return key.removesuffix("s") if len(key) > 2 else key


def nearly_alike(classes: Iterable[str]) -> list[str]:
    """A remark about classes whose names differ only in the plural or in a word for copies."""
    by_key: dict[str, list[str]] = {}
    for name in sorted(set(classes)):
        by_key.setdefault(singular(VERSION.sub("", name) or name), []).append(shown(name))
    alike = [", ".join(names) for names in by_key.values() if len(names) > 1]
    return [
        "Look twice: some classes have names that differ only in the plural or in a word for "
        f"copies, and are different classes nevertheless: {'; '.join(alike[:5])}."
    ] * bool(alike)


def check_distinct(place: object, names: Iterable[str]) -> None:
    """Make sure that no two class names look alike or are the same number, such as 1e3 and 1000.

    Args:
        place: the folder or table with the names, for the message.

    Raises:
        InputError: two names look alike.
    """
    seen: dict[str | Decimal, str] = {}
    for name in sorted(set(names)):
        other = seen.setdefault(_number(likeness(name)), name)
        if other != name:
            raise InputError(
                f"{place}: the classes {other!r} and {name!r} look alike. If they are one class, "
                "use one name for both; otherwise use names that differ more."
            )


def _number(name: str) -> str | Decimal:
    """The number that a name is in any spelling, or else the name."""
    with suppress(InvalidOperation):
        if (number := Decimal(name)).is_finite():
            return number
    return name
