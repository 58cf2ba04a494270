"""Remark on objects that recur in several images, if nobody has named the groups."""

import re
from collections import Counter
from collections.abc import Sequence

from effnet_core.data.layout.companions import FEWEST, without_ending
from effnet_core.data.layout.listing import Listing
from effnet_core.data.layout.parts import words_of
from effnet_core.data.layout.repeats import NUMBERED
from effnet_core.data.layout.tables import LABEL_COLUMNS, PATH_COLUMNS, first_of
from effnet_core.data.names import normalised, shown

# Words for what may be in several images, and words and endings that follow them: `patient_id`.
OBJECTS = {
    *("patient", "subject", "person", "participant", "individual", "donor", "case", "lesion"),
    *("group", "object", "animal", "specimen", "sample", "slide", "study", "series", "exam"),
    *("sequence", "seq", "video", "clip", "scene", "burst", "camera", "station", "site"),
    *("location", "plot", "field", "plant", "tree", "family", "original", "photographer"),
}
COUNTING = {"id", "ids", "uid", "name", "no", "nr", "num", "number", "code", "key"}
GLUED = re.compile(rf"({'|'.join(OBJECTS)})s?({'|'.join(COUNTING)})?")
FEWEST_OBJECTS = 3
# Beginnings of names that recur, each with the rule for groups: of versions that programs make of a
# photo, and of objects, as in `person1_bacteria_2`, but not a day before a time.
BEGINNINGS = {
    re.compile(r"(.+)\.rf\.[0-9a-f]{8,}"): r"([^/]+)\.rf\.",
    re.compile(r"(.+)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"): r"([^/]+)_[^/_]+$",
    re.compile(
        r"(?!(?:.*\D)?\d{8}[\W_]+\d{6}$)(.*\d)[\W_]+(?:[^\W\d_]+[\W_]*)?\d{1,7}"
    ): r"([^/]*\d)[\W_]+(?:[^\W\d_]+[\W_]*)?\d+[.]\w+$",
}


def recurring_objects(listing: Listing) -> list[str]:
    """At most one remark on a column, on folders or on beginnings of names that recur."""
    remarks = (_columns(listing), _folders(listing), _beginnings(listing.names))
    return next(filter(None, remarks), [])


def _columns(listing: Listing) -> list[str]:
    """A remark about a column such as `patient_id` that names some objects several times."""
    columns = listing.columns
    used = {first_of(columns, known) for known in (PATH_COLUMNS, LABEL_COLUMNS)}
    for name in filter(_names_objects, columns.columns.difference([*used])):
        values = columns[name].tolist()
        number, first, count = _recurring(values)
        pairs = {*zip(values, listing.kinds, strict=True)}
        if number < FEWEST * len(values) or len(pairs) == len({*listing.kinds}) == len({*values}):
            continue
        return [
            f"Look twice: column {shown(name)} is not used, and {number} images share its value "
            f"with another one, such as the {count} of {shown(first)}. {_if_one_object(name)}"
        ]
    return []


def _names_objects(column: str) -> bool:
    """Whether a column is called like one of objects: the last word says of what it is."""
    words = [word for word in words_of(column) if word not in COUNTING]
    return bool(words and GLUED.fullmatch(words[-1]))


def _folders(listing: Listing) -> list[str]:
    """A remark if most images lie in numbered folders that are no classes, such as `cat/p12`."""
    folders = [name.split("/")[-2] if "/" in name else "" for name in listing.names]
    numbered = [
        folder if NUMBERED.fullmatch(folder) and normalised(folder) != kind else ""
        for folder, kind in zip(folders, listing.kinds, strict=True)
    ]
    number, first, count = _recurring(numbered)
    if 2 * number < len(numbered):
        return []
    return [
        f"Look twice: {number} images lie in numbered folders that are no classes, such as the "
        f"{count} in {shown(first)}. {_if_one_object('([^/]+)/[^/]+$')}"
    ]


def _beginnings(names: Sequence[str]) -> list[str]:
    """A remark if most names begin like another one, up to a number or a program's mark."""
    stems = [without_ending(name).rpartition("/")[2] for name in names]
    for beginning, rule in BEGINNINGS.items():
        matches = map(beginning.fullmatch, stems)
        number, first, count = _recurring([match[1] if match else "" for match in matches])
        if 2 * number >= len(names):
            return [
                f"Look twice: the names of {number} images begin like that of another one, such as "
                f"the {count} with {shown(first)}. If such images show the same object, or are "
                f"versions of one photo, {_give(rule)}"
            ]
    return []


def _recurring(values: Sequence[str]) -> tuple[int, str, int]:
    """The number of images whose object recurs, the commonest object, and the number of its images.

    All are zero if the objects are too few to be divided among the parts.
    """
    counts = Counter(filter(None, values))
    several = {value: count for value, count in counts.most_common() if count > 1}
    if len(counts) < FEWEST_OBJECTS or not several:
        return 0, "", 0
    first = next(iter(several))
    return sum(several.values()), first, several[first]


def _if_one_object(rule: str) -> str:
    return f"If these show the same object, {_give(rule)}"


def _give(rule: str) -> str:
    quoted = rule if re.fullmatch(r"\w+", rule) else f"'{rule}'"
    return f"give --groups {quoted}; else a model is tested on objects that it was trained on."
