"""Names of classes and objects as people write them: what counts as the same name."""

import re
import unicodedata
from collections.abc import Iterable

from effnet_core.errors import InputError

# Letters of Cyrillic and Greek that nobody can tell from Latin ones.
TWINS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u03bf"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0391\u0392\u0395\u039f",
    "aeopcyxijsoABEKMHOPCTXABEO",
)


def normalised(name: str) -> str:
    """A name in Unicode's composed form (NFC), without blanks around it, single blanks in it."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def likeness(name: str) -> str:
    """Equal for names that look alike: in any case, with any blanks or Unicode form, `1` as `1.0`.

    Invisible letters do not count, and twins of Latin letters are Latin ones.
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


def check_distinct(place: object, names: Iterable[str]) -> None:
    """Make sure that no two class names look alike.

    Raises:
        InputError: two do; which of them is meant cannot be known.
    """
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        other = seen.setdefault(likeness(name), name)
        if other != name:
            raise InputError(
                f"{place}: the classes {other!r} and {name!r} look alike. If they are one class, "
                "give both one name; if they are two, give them names that differ more."
            )
