"""Remark on images inside a class that may be versions of each other, by names that recur."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache

from effnet_core.data.layout.companions import FEWEST, MASK_WORD, has_letters
from effnet_core.data.layout.masks import IMAGES, is_of_photos
from effnet_core.data.layout.parts import FILLERS
from effnet_core.data.names import likeness, shown, singular

# Names of folders that say nothing about what is in them.
NEUTRAL = IMAGES | FILLERS
# Names of objects such as patient12 and 2019, which are no classes.
NUMBERED = re.compile(r".*\D\d+|\d{2,}")
# Names for the views of an object, which are rarely classes.
VIEWS = {
    *("front", "back", "rear", "side", "left", "right", "top", "bottom", "above", "below"),
    *("near", "far", "wide", "close", "closeup", "day", "night", "indoor", "outdoor"),
}
WORD = re.compile(r"[^\W\d_]+")
# An image name in more folders than this is one that every object has, such as 1.png.
MOST_FOLDERS = 4


def repeated_folders(images: Sequence[str], told: Collection[str]) -> list[str]:
    """A remark if most images of some folders are called like images beside the folder.

    `cat/roi/1.png` is called like `cat/images/1.png` and `cat/1.png`, and `cat/roi/a/1.png` like
    `cat/images/a/1.png`.

    Args:
        told: names of folders, in the singular, that another remark is about.
    """
    ways = {place: _ways(place) for place in {name.rpartition("/")[0] for name in images}}
    beside: dict[tuple[str, str], set[str]] = {}
    for name in images:
        place, stem = _place_and_stem(name)
        beside.setdefault((place, stem), set()).add("")
        for _, inner, without in ways[place]:
            beside.setdefault((without, stem), set()).add(inner)
    total: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    for name in images:
        place, stem = _place_and_stem(name)
        for folder, inner, without in ways[place]:
            total[folder] += 1
            among = beside[without, stem]
            if 1 < len(among) <= MOST_FOLDERS:
                alike[folder] += _is_telling(stem, inner, among, told)
    found = [
        folder
        for folder, number in sorted(alike.items())
        if 2 * number > total[folder] and _may_repeat(folder.rpartition("/")[2])
    ]
    number = sum(total[folder] for folder in found)
    if number < max(1, FEWEST * len(images)):
        return []
    return [
        f"Look twice: {number} images are called like those in a folder beside theirs, such as "
        f"those in {', '.join(map(shown, found[:5]))}. If a folder holds masks, maps or copies of "
        "the photos in another one, move it away. If images of one name show the same object, name "
        "the object as a group."
    ]


def _is_telling(stem: str, inner: str, among: set[str], told: Collection[str]) -> bool:
    """Whether an image name that occurs in several folders says that one holds versions.

    A number says so only beside folders of photos, or in folders with a word for masks.
    """
    if any(map(_is_of_photos, among)):
        return True
    named = "" in among or has_letters(stem) or MASK_WORD.search(inner)
    return bool(named and among.isdisjoint(told))


def kinds_of_objects(images: Sequence[str]) -> list[str]:
    """A remark if most objects have images of the same kinds, such as `scan` and `lesion`.

    The objects are the folders of some depth inside the classes, at least three, and the kinds are
    the words in the rest of the path, but for those of the object, of views and of photos.
    """
    for depth in range(2, max(name.count("/") for name in images) + 1):
        objects: dict[tuple[str, ...], set[str]] = {}
        for name in images:
            folders = name.lower().split("/")
            if len(folders) > depth:
                unit, stem = "/".join(folders[:depth]), folders[-1].rpartition(".")[0]
                words = {*WORD.findall("/".join([*folders[depth:-1], stem]))}
                words -= {*WORD.findall(unit)}
                kind = tuple(sorted(word for word in words if not _says_nothing(word)))
                objects.setdefault(kind, set()).add(unit)
        fewest = max(2, len({unit for units in objects.values() for unit in units}) / 2)
        common = sorted(kind for kind, units in objects.items() if len(units) > fewest)
        if len(common) > 1:
            kinds = ", ".join(shown(" ".join(kind)) for kind in common[:5] if kind)
            return [
                "Look twice: most folders at some depth inside the classes hold images of several "
                f"kinds: {kinds}{' and others' * (() in common)}. If some are masks, maps or "
                "copies, move them away. If a folder shows one object, name it as a group."
            ]
    return []


def _place_and_stem(name: str) -> tuple[str, str]:
    """The folder of an image, and its name without ending in small letters."""
    place, _, file = name.rpartition("/")
    return place, (file.rpartition(".")[0] or file).lower()


def _ways(place: str) -> list[tuple[str, str, str]]:
    """Each folder inside the class: its path, its name in the singular, the place without it."""
    folders = place.split("/")
    return [
        ("/".join(folders[: k + 1]), singular(folders[k]), "/".join(folders[:k] + folders[k + 1 :]))
        for k in range(1, len(folders))
    ]


def _is_of_photos(name: str) -> bool:
    """Whether a folder is called like one of photos, such as `images`."""
    return is_of_photos(name) or name.lower() in FILLERS


@cache
def _says_nothing(word: str) -> bool:
    """Whether a word tells no kind of images: those of photos and views."""
    return _is_of_photos(word) or likeness(word) in VIEWS


def _may_repeat(name: str) -> bool:
    """Whether a folder may hold versions of photos, by its name: not `images`, `p12` or `front`."""
    if singular(name) == "original":
        return True  # of what was edited since
    return not (_is_of_photos(name) or NUMBERED.fullmatch(name) or likeness(name) in VIEWS)
