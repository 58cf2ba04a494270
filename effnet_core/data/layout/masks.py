"""Find masks and thumbnails among photos, by names that repeat those of the photos."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from effnet_core.data.layout.companions import (
    MASK_FOLDERS,
    MASK_WORD,
    THUMBNAIL_FOLDERS,
    THUMBNAIL_WORD,
    companions,
)

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


def masks_among(images: Sequence[str]) -> list[str]:
    """The images that are masks of others, in the same folder or another."""
    if not any(map(ANY_MASK.search, images)):
        return []
    found = dict.fromkeys(_masks_by_path(images))
    return list(found | dict.fromkeys(companions(images, MASK_WORD, MASK_FOLDERS)))


def _masks_by_path(images: Sequence[str]) -> list[str]:
    """The images that are masks of others, if most images with a mask word in the path are.

    The path of a mask differs from its image's in the word: `masks/a.png` belongs to
    `images/a.jpg`, `cat/a_mask.png` to `cat/a.png`, `cat_gt/1.png` to `cat/1.png`,
    `ManualMask/a.png` to `scans/a.png`. If the name ends in the word, the image may be in any
    folder.
    """
    folders = {folder for name in images for folder in name.lower().split("/")[:-1]}
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
    """The images in folders for thumbnails, or that are called like thumbnails of others."""
    folders = {name.rpartition("/")[0] for name in images}
    small = {place for place in folders if any(map(THUMBNAILS.fullmatch, place.split("/")))}
    found = {name: None for name in images if name.rpartition("/")[0] in small}
    return list(found | dict.fromkeys(companions(images, THUMBNAIL_WORD, THUMBNAIL_FOLDERS)))
