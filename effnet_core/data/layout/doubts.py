"""Detect folders that look like classes but are masks, thumbnails or numbered pieces."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath

from effnet_core.data.layout.masks import masks_among, thumbnails_among
from effnet_core.data.names import shown
from effnet_core.errors import InputError

# Words in the names of pieces, and the folders of cameras, such as 100CANON.
PIECE = re.compile(
    r"(?<![a-z])(parts?|chunk|batch|archive|images?|imgs?|data|dataset|folder|zip|split|shard|vol"
    r"|volume|disc|dvd|fold|set|subset|photos|pictures|files|frames|export|takeout|download|tar"
    r"|7z|rar)(?![a-z])|^\d{3}[a-z_]{5}$"
)
# What differs in the names of pieces. Letters may be kinds, as of a part_a.
COUNT = re.compile(r"\d+|(?<=[\W_])(one|two|three|four|five|six|seven|eight|nine|ten)$")

# Share of the images up to which a name like a mask's is told, not refused: of 800 drawings, one is
# called `sailboat_labels` beside `sailboat`, and is a drawing too.
FEW = 0.02
REMEDY = "Give the folder that holds the classes, or a table of paths and labels: --labels FILE.csv"


def check_not_pieces(root: Path, classes: Sequence[str], images: Sequence[str]) -> None:
    """Make sure that class folders are not numbered pieces of one collection.

    Args:
        images: paths of the images in them, relative to `root`.

    Raises:
        InputError: they look like numbered pieces.
    """
    if _are_pieces(classes, images):
        raise InputError(
            f"{root} holds numbered pieces of one collection ({', '.join(classes[:5])} ...), not "
            f"classes. {REMEDY}"
        )


def check_only_photos(root: Path, images: Sequence[str]) -> None:
    """Make sure that images are not masks or thumbnails of others, but for a few that may be.

    Args:
        images: paths of all images, relative to `root`.

    Raises:
        InputError: more than a few are.
    """
    for kind, unwanted in _unwanted(images).items():
        if _few(unwanted, images):
            continue
        raise InputError(
            f"{root} holds {kind} beside the images they belong to, {len(unwanted)} in all, "
            f"such as {unwanted[0]}: they would be trained on as if they were photos. Move "
            f"them out of the folder, or rename the folders that are classes. {REMEDY}"
        )


def few_doubted_photos(images: Sequence[str]) -> list[str]:
    """Remarks about a few images that may be masks or thumbnails of others beside them.

    Args:
        images: paths of all images, relative to the folder of the classes.
    """
    return [
        f"Look twice: {len(unwanted)} of {len(images)} images "
        f"{'is' if len(unwanted) == 1 else 'are'} called like {kind} of others beside them, such "
        f"as {shown(unwanted[0])}. If they are no photos, move them out of the folder."
        for kind, unwanted in _unwanted(images).items()
        if _few(unwanted, images)
    ]


def doubted_photos(images: Sequence[str]) -> list[str]:
    """Remarks about images in a table that may be masks or thumbnails of others in it.

    The folders in its paths are no classes, so they are read like folders inside a class.
    """
    inside = [f"./{name}" for name in images]
    return [
        f"Look twice: {len(unwanted)} images of the table are called like {kind} of others in it, "
        f"such as {shown(unwanted[0][2:])}. If they are, remove their rows."
        for kind, unwanted in _unwanted(inside).items()
    ]


def _unwanted(images: Sequence[str]) -> dict[str, list[str]]:
    """The images that are masks and thumbnails of others, if any."""
    kinds = {"masks or annotations": masks_among(images), "thumbnails": thumbnails_among(images)}
    return {kind: found for kind, found in kinds.items() if found}


def _few(unwanted: Sequence[str], images: Sequence[str]) -> bool:
    return len(unwanted) <= FEW * len(images)


def _are_pieces(classes: Sequence[str], images: Sequence[str]) -> bool:
    """Whether folders are numbered pieces, by their names or because all hold equal folders."""
    lower = [name.lower() for name in classes]
    same_but_for_count = len({COUNT.sub("#", name) for name in lower}) == 1
    if same_but_for_count and all(map(PIECE.search, lower)):
        return True
    if not all(re.search(r"\d", name) for name in classes):
        return False
    inside: dict[str, set[str]] = {name: set() for name in classes}
    for parts in (PurePath(name).parts for name in images):
        if len(parts) > 2:
            inside[parts[0]].add(parts[1])
    held = set(map(frozenset, inside.values()))
    same = len(held) == 1 and len(held.pop()) > 1
    return _steps(classes) or (same and same_but_for_count)


def _steps(classes: Sequence[str]) -> bool:
    """Whether folders have names such as 00000, 01000, 02000, which programs fill in turn."""
    if not all(re.fullmatch(r"\d{3,}", name) for name in classes):
        return False
    numbers = sorted(map(int, classes))
    gaps = {second - first for first, second in pairwise(numbers)}
    return numbers[0] == 0 and len(gaps) == 1 and min(gaps) >= 100
