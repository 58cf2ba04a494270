"""Tell class folders from folders around or beside the classes, by the names inside them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from effnet_core.data.layout.doubts import IMAGES
from effnet_core.data.layout.parts import FILLERS
from effnet_core.data.names import likeness, normalised, shown
from effnet_core.errors import InputError

# Names of objects such as patient12 and 2019, which are no classes.
NUMBERED = re.compile(r".*\D\d+|\d{2,}")


def check_layers(root: Path, images: Sequence[str]) -> None:
    """Make sure that the folders in `root` are the classes, not folders that hold the classes.

    Args:
        images: paths of images in the folders, relative to `root`.

    Raises:
        InputError: a folder repeats the names of the folders beside it, or several folders hold
            folders of the same names.
    """
    inside = _inside(images)
    for name, within in inside.items():
        repeated = _classes_in(name, inside)
        if len(repeated) > 1 or within.keys() == set(repeated):
            raise InputError(
                f"{root / name} holds folders that are called like the classes beside it "
                f"({', '.join(repeated[:5])}). If it holds other versions of their images, move "
                f"it out of {root}. If it is a class, rename the folders in it."
            )
    shared = _shared(inside, images)
    words = [name for name in shared if not NUMBERED.fullmatch(name)]
    if len(words) > 1:
        tops, inner = _listed([n for n in inside if inside[n].keys() & shared]), _listed(words)
        raise InputError(
            f"{root} holds the folders {tops}, several of which hold {inner}, so it is unclear "
            f"which of them are the classes. If {inner} are: move the images of each into one "
            "folder, or give a table of paths and labels (--labels FILE.csv), with a column for "
            f"{tops} that --groups can name if there are enough of them for a split. If {tops} "
            "are: move their images out of the folders inside, or rename these so that no two are "
            "equal."
        )


def doubted_layers(images: Sequence[str]) -> list[str]:
    """Remarks about folders inside classes that `check_layers` lets pass."""
    inside = _inside(images)
    remarks = [
        f"Look twice: {shown(name)}/{shown(inner)} is trained as class {shown(name)}, but there is "
        f"a class {shown(inner)}."
        for name in inside
        for inner in _classes_in(name, inside)
    ]
    shared = _shared(inside, images)
    if len(shared) > 1:
        remarks.append(
            f"Look twice: several of the classes {_listed(list(inside))} hold the same folders, "
            f"{_listed(shared)}. If those are objects, name them as groups. If those are the "
            "classes, move them together, or give a table: --labels FILE.csv"
        )
    return remarks


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


def _classes_in(name: str, inside: dict[str, dict[str, int]]) -> list[str]:
    """Folders in a folder that are called like another folder."""
    others = {likeness(other) for other in inside if other != name}
    return sorted(inner for inner in inside[name] if inner and likeness(inner) in others)


def _inside(images: Sequence[str]) -> dict[str, dict[str, int]]:
    """Number of images per folder inside each folder, but for those called `images` and the like.

    Images that lie in no such folder count under an empty name.
    """
    neutral = IMAGES | FILLERS
    inside: dict[str, dict[str, int]] = {}
    for name in images:
        top, *between, _ = name.split("/")
        inner = next((folder for folder in between if folder.lower() not in neutral), "")
        counts = inside.setdefault(top, {})
        counts[inner] = counts.get(inner, 0) + 1
    return inside


def _shared(inside: dict[str, dict[str, int]], images: Sequence[str]) -> list[str]:
    """Names of folders in more than one folder, if these hold most of the images."""
    tops: dict[str, int] = {}
    for counts in inside.values():
        for inner in counts.keys() - {""}:
            tops[inner] = tops.get(inner, 0) + 1
    shared = sorted(inner for inner, count in tops.items() if count > 1)
    held = sum(counts.get(inner, 0) for counts in inside.values() for inner in shared)
    return shared if held * 2 > len(images) else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:5])) + " ..." * (len(names) > 5)
