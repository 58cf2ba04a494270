"""Detect folders that look like classes but are masks, thumbnails or numbered pieces."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath

from effnet_core.errors import InputError

IMAGES = {"image", "images", "img", "imgs", "photos", "pictures", "jpegimages", "input", "inputs"}
MASKS = {
    *("masks", "annotations", "trimaps", "segmentation", "segmentations", "groundtruth"),
    *("ground_truth", "segmentationclass", "segmentationobject"),
    *("masken", "masques", "mascaras", "m\u00e1scaras", "maschere"),  # in other languages
}
# These can be classes too, so they mean masks only beside a folder called `images`.
MASKS_BESIDE_IMAGES = MASKS | {
    *("mask", "gt", "annotation", "label", "labels", "target", "targets", "overlay", "overlays"),
    *("maske", "masque", "mascara", "m\u00e1scara", "maschera"),
}
MASK_ENDING = re.compile(
    r"([ _-]|(?<=[a-z])(?=[A-Z]))(?i:masks?|seg|segmentations?|gt|groundtruth|labels?|trimaps?"
    r"|annotations?)$"
)
# No path without one of these letters has a word for masks.
ANY_MASK = re.compile("m[a\u00e1]s[kcq]|annot|seg|trimap|ground|gt|label|target|overlay", re.I)
THUMBNAILS = re.compile(r"thumbs|.*thumbnails?.*", re.IGNORECASE)
PIECE = re.compile(
    r"(.*[\W_])?(part|chunk|batch|archive|images?|imgs?|data|dataset|folder|zip|split|shard"
    r"|vol|volume|disc|dvd|fold|subset|photos|pictures|files)[ _.(-]*\d+\)?",
    re.IGNORECASE,
)

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
    """Make sure that no images are masks or thumbnails of others.

    Args:
        images: paths of all images, relative to `root`.

    Raises:
        InputError: some are.
    """
    for kind, unwanted in {
        "masks or annotations": masks_among(images),
        "thumbnails": thumbnails_among(images),
    }.items():
        if unwanted:
            raise InputError(
                f"{root} holds {kind} beside the images they belong to, {len(unwanted)} in all, "
                f"such as {unwanted[0]}: they would be trained on as if they were photos. Move "
                f"them out of the folder, or rename the folders that are classes. {REMEDY}"
            )


def _are_pieces(classes: Sequence[str], images: Sequence[str]) -> bool:
    """Whether folders are numbered pieces, by their names or because all hold equal folders."""
    unnumbered = {re.sub(r"\d+\)?$", "", name).lower() for name in classes}
    if all(map(PIECE.fullmatch, classes)) and len(unnumbered) == 1:
        return True
    if not all(re.search(r"\d", name) for name in classes):
        return False
    inside: dict[str, set[str]] = {name: set() for name in classes}
    for parts in (PurePath(name).parts for name in images):
        if len(parts) > 2:
            inside[parts[0]].add(parts[1])
    held = set(map(frozenset, inside.values()))
    same = len(held) == 1 and len(held.pop()) > 1
    return _steps(classes) or (same and len({re.sub(r"\d+", "", name) for name in classes}) == 1)


def _steps(classes: Sequence[str]) -> bool:
    """Whether folders have names such as 00000, 01000, 02000, which programs fill in turn."""
    if not all(re.fullmatch(r"\d{3,}", name) for name in classes):
        return False
    numbers = sorted(map(int, classes))
    gaps = {second - first for first, second in pairwise(numbers)}
    return numbers[0] == 0 and len(gaps) == 1 and min(gaps) >= 100


def masks_among(images: Sequence[str]) -> list[str]:
    """The images that are masks of others, if most images with a mask word in the path are.

    The path of a mask differs from its image's in the word: `masks/a.png` belongs to
    `images/a.jpg`, `cat/a_mask.png` to `cat/a.png`, `cat_gt/1.png` to `cat/1.png`,
    `ManualMask/a.png` to `scans/a.png`. If the name ends in the word, the image may be in any
    folder.
    """
    if not any(map(ANY_MASK.search, images)):
        return []
    folders = {folder for name in images for folder in PurePath(name.lower()).parts[:-1]}
    words = MASKS_BESIDE_IMAGES if folders & IMAGES else MASKS
    keys = {name: _key(name, words) for name in images}
    photos = {key for key, is_marked in keys.values() if not is_marked}
    # A class `mask` does not hold the photos of masks in a class `no_mask`.
    plain = [keys[name][0] for name in images if not _key(name, MASKS_BESIDE_IMAGES)[1]]
    photos |= {key[-1:] for key in plain if re.search("[a-z]", key[-1])}
    marked = [name for name, (_, is_marked) in keys.items() if is_marked]
    masks = [
        name
        for name in marked
        if keys[name][0] in photos or _in_name(name, photos) or _unmarked(name) in photos
    ]
    return masks if len(masks) * 2 > len(marked) else []


def _in_name(name: str, photos: set[tuple[str, ...]]) -> bool:
    """Whether the name of an image is that of a photo in any folder, with a word for masks."""
    last = PurePath(name).stem
    stem = MASK_ENDING.sub("", last)
    return stem != last and (stem.lower(),) in photos


def _unmarked(name: str) -> tuple[str, ...]:
    """The path of an image without endings that mean masks, such as `cat/1` of `cat_gt/1.png`."""
    parts = (MASK_ENDING.sub("", part).lower() for part in PurePath(name).with_suffix("").parts)
    return tuple(part for part in parts if part not in IMAGES)


def _key(name: str, words: set[str]) -> tuple[tuple[str, ...], bool]:
    """The path of an image without words for images and masks, and whether it had a mask word."""
    *folders, last = PurePath(name).with_suffix("").parts
    stem = MASK_ENDING.sub("", last)
    masks = [folder for folder in folders if folder.lower() in words or MASK_ENDING.search(folder)]
    others = (f.lower() for f in folders if f not in masks and f.lower() not in IMAGES)
    return (*others, stem.lower()), stem != last or bool(masks)


def thumbnails_among(images: Sequence[str]) -> list[str]:
    """The images in folders for thumbnails."""
    folders = {name.rpartition("/")[0] for name in images}
    small = {place for place in folders if any(map(THUMBNAILS.fullmatch, place.split("/")))}
    return [name for name in images if name.rpartition("/")[0] in small]
