"""Folders and words that name parts of a data set: train, val, test and the like."""

import re
from collections.abc import Sequence
from pathlib import PurePath

# Words for parts of a data set, and the part that each of them means.
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled", "unsup", "unsupervised", "pred"), "unlabeled"),
}
# What else is in the name of a part, as in `Training_set` and `test-images`; so are numbers.
FILLERS = {"set", "split", "data", "dataset", "images", "image", "imgs", "img", "photos", "folder"}


def part_of(name: str) -> str:
    """The part of a data set that a name says it is: train, val, test, unlabeled, or empty."""
    found, rest = _words(name)
    return found[0] if len(found) == 1 and rest <= FILLERS else ""


def parts_among(names: Sequence[str]) -> dict[str, str]:
    """Those of the names that are parts, with the part that each is.

    `seg_train` is one beside `seg_test`: both are the same but for the word.
    """
    parts = {name: part for name in names if (part := part_of(name))}
    split = {name: _words(name) for name in names}
    for name, (found, rest) in split.items():
        if len(found) == 1 and any(
            other and other != found and its_rest == rest for other, its_rest in split.values()
        ):
            parts[name] = found[0]
    return parts


def _words(name: str) -> tuple[list[str], frozenset[str]]:
    """The parts that words of a name mean, and its other words, numbers aside."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\W_\d]+", apart.lower()) if word]
    return [WORDS[word] for word in words if word in WORDS], frozenset(words) - WORDS.keys()


def parts_inside(images: Sequence[str]) -> list[str]:
    """Folders below the classes that are parts, such as `cat/train`."""
    folders = {folder for name in images for folder in PurePath(name).parents[:-1]}
    children: dict[PurePath, list[str]] = {}
    for folder in sorted(folders):
        if len(folder.parts) > 1:
            children.setdefault(folder.parent, []).append(folder.name)
    return [str(parent / name) for parent, names in children.items() for name in parts_among(names)]
