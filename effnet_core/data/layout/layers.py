"""Tell class folders from folders around or beside the classes, by the names inside them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from effnet_core.data.layout.companions import has_letters, without_ending
from effnet_core.data.layout.masks import is_of_photos
from effnet_core.data.layout.repeats import (
    NEUTRAL,
    NUMBERED,
    VIEWS,
    kinds_of_objects,
    repeated_folders,
)
from effnet_core.data.names import likeness, normalised, shown, singular
from effnet_core.errors import InputError


def check_layers(root: Path, images: Sequence[str]) -> None:
    """Make sure that the folders in `root` are the classes, not folders that hold the classes.

    Args:
        images: paths of images in the folders, relative to `root`.

    Raises:
        InputError: a folder repeats the names of the folders beside it, or several folders hold
            folders of the same names.
    """
    inside = _inside(images)
    for name, repeated in _repeated(inside).items():
        if len(repeated) > 1 or inside[name].keys() == set(repeated):
            raise InputError(
                f"{root / name} holds folders that are called like the classes beside it "
                f"({', '.join(repeated[:5])}). If it holds other versions of their images, move "
                f"it out of {root}. If it is a class, rename the folders in it."
            )
    recurring = _recurring(inside)
    held = sum(counts.get(inner, 0) for counts in inside.values() for inner in recurring)
    words = [n for n in recurring if not NUMBERED.fullmatch(n) and likeness(n) not in VIEWS]
    if len(words) > 1 and 2 * held > len(images):
        tops = _listed([name for name in inside if inside[name].keys() & set(words)])
        inner = _listed(words)
        raise InputError(
            f"{root} holds the folders {tops}, several of which hold {inner}, so either could be "
            f"the classes. If {tops} are the classes, rename the folders inside of them so that no "
            f"name occurs twice. If {inner} are the classes, give a table of paths and labels "
            f"(--labels FILE.csv), with a column of {tops} for --groups if the images of each "
            "should stay together."
        )


def doubted_layers(images: Sequence[str]) -> list[str]:
    """Remarks about folders inside classes that `check_layers` lets pass."""
    inside = _inside(images)
    repeated = [(name, inner) for name, them in _repeated(inside).items() for inner in them]
    remarks = [
        f"Look twice: {shown(name)}/{shown(inner)} is trained as class {shown(name)}, but there is "
        f"a class {shown(inner)}."
        for name, inner in repeated
    ]
    shared, around = _shared(images)
    held = sum(number for top in around for inner, number in inside[top].items() if inner)
    told = {singular(inner) for _, inner in repeated}
    if 2 * held > len(images):
        told |= set(map(singular, shared))
        remarks.append(
            f"Look twice: several of the classes {_listed(list(inside))} hold folders of the same "
            f"name: {_listed(shared)}. If such a folder is one object, name it as a group. If it "
            "is a class, move its images together, or give a table: --labels FILE.csv"
        )
    remarks += _photos_as_a_class(images)
    return remarks + (repeated_folders(images, told) or kinds_of_objects(images))


def _photos_as_a_class(images: Sequence[str]) -> list[str]:
    """A remark about a class `images` if most images of another class have the names of its own.

    Numbers say so only if there are no other classes.
    """
    stems: dict[str, set[str]] = {}
    for name in images:
        stems.setdefault(name.split("/")[0], set()).add(without_ending(name).split("/")[-1].lower())
    pairs = []
    for photos in filter(is_of_photos, stems):
        for other in stems.keys() - {photos}:
            recurring = stems[other] & stems[photos]
            telling = sum(len(stems) == 2 or has_letters(stem) for stem in recurring)
            pairs += [(photos, other)] if 2 * telling > len(stems[other]) else []
    return [
        f"Look twice: most images of class {shown(other)} are called like those of class "
        f"{shown(photos)}. If they are masks, maps or versions of them, move them away."
        for photos, other in sorted(pairs)
    ]


def joined_folders(names: Iterable[str]) -> list[str]:
    """A remark for each class of several folders whose names differ in blanks or Unicode form."""
    by_class: dict[str, list[str]] = {}
    for name in names:
        by_class.setdefault(normalised(name), []).append(name)
    return [
        f"The folders {', '.join(map(ascii, folders))} are one class, {shown(kind)}."
        for kind, folders in by_class.items()
        if len(folders) > 1
    ]


def _repeated(inside: dict[str, dict[str, int]]) -> dict[str, list[str]]:
    """For each folder the folders in it that are called like another folder beside it."""
    keys = Counter(map(singular, inside))
    repeated = {}
    for name, within in inside.items():
        own = singular(name)
        by_key = {inner: singular(inner) for inner in within if inner}
        repeated[name] = sorted(it for it, key in by_key.items() if keys[key] > (key == own))
    return repeated


def _inside(images: Sequence[str]) -> dict[str, dict[str, int]]:
    """Number of images per folder inside each folder, but for those called `images` and the like.

    Images that lie in no such folder count under an empty name.
    """
    inside: dict[str, dict[str, int]] = {}
    for place, number in Counter(name.rpartition("/")[0] for name in images if "/" in name).items():
        top, *between = place.split("/")
        inner = next((folder for folder in between if folder.lower() not in NEUTRAL), "")
        counts = inside.setdefault(top, {})
        counts[inner] = counts.get(inner, 0) + number
    return inside


def _shared(images: Sequence[str]) -> tuple[list[str], set[str]]:
    """Names of folders at any depth inside several classes, words first, and these classes.

    A name does not count if no other name occurs at its depth, as in `cat/raw` and `dog/raw`.
    """
    tops: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    depths: dict[int, set[str]] = {}
    for place in sorted({name.rpartition("/")[0] for name in images}):
        top, *between = place.split("/")
        inner = [folder for folder in between if folder.lower() not in NEUTRAL]
        for depth, (name, key) in enumerate(zip(inner, map(singular, inner), strict=True)):
            names.setdefault(key, name)
            tops.setdefault(key, set()).add(top)
            depths.setdefault(depth, set()).add(key)
    varied = {key for keys in depths.values() if len(keys) > 1 for key in keys}
    shared = [key for key in varied if len(tops[key]) > 1]
    words_first = sorted((bool(NUMBERED.fullmatch(names[key])), names[key]) for key in shared)
    return [name for _, name in words_first], {top for key in shared for top in tops[key]}


def _recurring(inside: dict[str, dict[str, int]]) -> list[str]:
    """Names of folders in more than one folder."""
    tops = Counter(inner for counts in inside.values() for inner in counts if inner)
    return sorted(inner for inner, count in tops.items() if count > 1)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:5])) + " ..." * (len(names) > 5)
