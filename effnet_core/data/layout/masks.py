"""Find masks and thumbnails among photos, by names that repeat those of the photos."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from effnet_core.data.layout.companions import (
    MASK_WORD,
    PHOTO_FOLDER,
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
    *("ann", "anns", "annot", "annotated", "lbl", "lbls", "seg", "segmented", "contour"),
    *("contours", "instances", "binary", "1st_manual", "2nd_manual", "manual"),
    *("maske", "masque", "mascara", "m\u00e1scara", "maschera"),
}
BETWEEN = re.compile("[ -]+")  # the words of a name, as in `Ground Truth`
MASK_ENDING = re.compile(
    r"([ _-]|(?<=[a-z])(?=[A-Z]))(?i:masks?|seg|segmentations?|gt|groundtruth|labels?|trimaps?"
    r"|annotations?)$"
)
# What follows the word in names such as `mask_images`.
IMAGES_ENDING = re.compile(r"[ _-](images?|imgs?|photos?|pngs?|jpe?gs?|tiffs?|bmps?)$", re.I)
# No path without one of these letters has a word for masks.
ANY_MASK = re.compile(
    "m[a\u00e1]s[kcq]|ann|seg|trimap|ground|gt|label|lbl|target|overlay|contour|instances|binary"
    "|manual",
    re.I,
)
THUMBNAILS = re.compile(r"thumbs|.*thumbnails?.*", re.IGNORECASE)


def masks_among(images: Sequence[str]) -> list[str]:
    """The images that are masks of others, in the same folder or another."""
    if not any(map(ANY_MASK.search, images)):
        return []
    found = dict.fromkeys(_masks_by_path(images))
    return list(found | dict.fromkeys(companions(images, MASK_WORD)))


def _masks_by_path(images: Sequence[str]) -> list[str]:
    """The images that are masks of others, if most images with a mask word in the path are.

    The path of a mask differs from its image's in the word: `masks/a.png` belongs to
    `images/a.jpg`, `cat/a_mask.png` to `cat/a.png`, `cat_gt/1.png` to `cat/1.png`,
    `ManualMask/a.png` to `scans/a.png`. If the name ends in the word, the image may be in any
    folder.
    """
    places = {name.rpartition("/")[0] for name in images}
    has_images = any(is_of_photos(it) for place in places for it in place.split("/"))
    words = MASKS_BESIDE_IMAGES if has_images else MASKS
    folders = {place: _folder(place, words) for place in places}
    # A class `mask` does not hold the photos of masks in a class `no_mask`.
    photo_folders = {it for it in places if not _folder(it, MASKS_BESIDE_IMAGES).is_marked}
    photos: set[tuple[str, str]] = set()
    marked: dict[str, set[tuple[str, str]]] = {}
    for name in images:
        place, _, file = name.rpartition("/")
        last = file.rpartition(".")[0] or file
        stem = MASK_ENDING.sub("", last)
        folder, key = folders[place], stem.lower()
        if folder.is_marked or stem != last:
            marked[name] = {(folder.bare, key), (folder.unmarked, key)}
            marked[name] |= {("", key)} if stem != last else set()
        else:
            photos.add((folder.bare, key))
            if place in photo_folders and re.search("[a-z]", key):
                photos.add(("", key))
    masks = [name for name, keys in marked.items() if keys & photos]
    return masks if len(masks) * 2 > len(marked) else []


class _Folder(NamedTuple):
    """A folder's path without folders for masks, the same without endings, and if it had any."""

    bare: str
    unmarked: str
    is_marked: bool


def _folder(place: str, words: set[str]) -> _Folder:
    """Read the path of a folder, such as `scans/cat_gt`, in which `gt` is an ending."""
    folders = [IMAGES_ENDING.sub("", folder) for folder in place.split("/")]
    masks = {
        it for it in folders if BETWEEN.sub("_", it).lower() in words or MASK_ENDING.search(it)
    }
    bare = "/".join(it.lower() for it in folders if it not in masks and not is_of_photos(it))
    endless = [MASK_ENDING.sub("", folder).lower() for folder in folders]
    unmarked = "/".join(folder for folder in endless if not is_of_photos(folder))
    return _Folder(bare, unmarked, bool(masks))


def is_of_photos(folder: str) -> bool:
    """Whether a folder is called like one of photos to which masks may belong."""
    return bool(folder.lower() in IMAGES or PHOTO_FOLDER.fullmatch(folder))


def thumbnails_among(images: Sequence[str]) -> list[str]:
    """The images in folders for thumbnails, or that are called like thumbnails of others."""
    folders = {name.rpartition("/")[0] for name in images}
    small = {place for place in folders if any(map(THUMBNAILS.fullmatch, place.split("/")))}
    found = {name: None for name in images if name.rpartition("/")[0] in small}
    return list(found | dict.fromkeys(companions(images, THUMBNAIL_WORD)))
