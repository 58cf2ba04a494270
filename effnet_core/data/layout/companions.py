"""Find images that belong to another image beside them, such as masks, thumbnails and versions."""

import re
from collections import Counter
from collections.abc import Sequence

from effnet_core.data.layout.parts import part_of
from effnet_core.data.names import shown

# Words before, in or after the name of an image, as in `mask_1`, `1.mask` and `1_mask_0`.
_WORD = r"(?:^|[\W_]+|(?<=\d)|(?<=[a-z])(?=[A-Z]))(?i:{})(?![^\W\d_])"
MASK_WORD = re.compile(
    _WORD.format(
        "masks?|masked|maske|masque|m[a\u00e1]scara|maschera|segm?|segmented|segmentations?|gt"
        "|groundtruth|labels?|trimaps?|annotations?|annotated|overlays?"
    )
)
MASK_FOLDERS = {
    *("mask", "masks", "seg", "segmentation", "segmentations", "segmented", "gt", "groundtruth"),
    *("ground_truth", "label", "labels", "trimaps", "annotation", "annotations", "overlay"),
    *("overlays", "maske", "masken", "masque", "masques", "mascara", "m\u00e1scara", "mascaras"),
    *("m\u00e1scaras", "maschera", "maschere"),
}
THUMBNAIL_WORD = re.compile(_WORD.format(r"thumbs?|thumbnails?|previews?|\d+x\d+"))
THUMBNAIL_FOLDERS = {"thumb", "thumbs", "thumbnail", "thumbnails", "preview", "previews"}
# Words in the names of photos to which masks belong, as in `img_1` beside `mask_1`.
PHOTO_WORD = re.compile(_WORD.format("img|image|photo|picture|scan|rgb|original|orig|raw"))
# A word that the name of a version adds to that of the image.
ADDED = re.compile(r"(.+?)([\W_]+[^\W_]*[^\W\d_][^\W_]*)")
FEWEST = 0.1  # share of versions among all images that is remarked


def companions(images: Sequence[str], word: re.Pattern[str], folders: set[str]) -> list[str]:
    """The images whose names repeat that of another image, if most of those with a word do.

    Args:
        images: paths of all images.
        word: what the name of the file has besides, as `cat/1_mask.png` beside `cat/1.png`.
        folders: what their own folder is called otherwise, as `cat/mask/1.png` beside `cat/1.png`
            or `cat/scan/1.png`. A folder of classes, such as `train`, holds no such folders.
    """
    by_name: dict[str, set[tuple[str, str]]] = {}
    by_folder: dict[str, set[tuple[str, str]]] = {}
    for name in images:
        place, _, file = name.rpartition("/")
        parent, _, folder = place.rpartition("/")
        if folder.lower() in folders:
            beside = (parent, f"{parent}/*") if parent else (parent,)
            by_folder[name] = {(it, key) for it in beside for key in _keys(file, word)}
        elif word.search(file):
            by_name[name] = {(place, key) for key in _keys(file, word)}
    if not (marked := by_name | by_folder):
        return []
    around = {place for keys in marked.values() for place, _ in keys}
    photos = {
        (place, key)
        for name in images
        if name not in marked
        for place in around.intersection(_places(name, word))
        for key in _keys(name.rpartition("/")[2], word)
    }
    found: list[str] = []
    for some in (by_name, by_folder):
        repeating = [name for name, keys in some.items() if keys & photos]
        found += repeating if 2 * len(repeating) > len(some) else []
    return found


def _places(name: str, word: re.Pattern[str]) -> list[str]:
    """The folder of a photo, and `x/*` for any folder in x, unless x holds class folders."""
    place = name.rpartition("/")[0]
    parent, _, folder = place.rpartition("/")
    if not parent or word.search(folder) or part_of(parent.rpartition("/")[2]):
        return [place]
    return [place, f"{parent}/*"]


def _keys(file: str, word: re.Pattern[str]) -> set[str]:
    """What the name of a photo would be, without marks; `1_mask_0` may belong to `1` or `1_0`."""
    stem = file.rpartition(".")[0] or file
    match = word.search(stem)
    if not match:
        return {_plain(stem)}
    before = stem[: match.start()]
    return {_plain(before), _plain(f"{before} {stem[match.end() :]}")} - {""}


def _plain(stem: str) -> str:
    without = PHOTO_WORD.sub(" ", stem).lower()
    return " ".join(re.split(r"[\W_]+", without)).strip() or stem.lower()


def versions(images: Sequence[str]) -> list[str]:
    """A remark about images whose names are that of an image beside them with a further word."""
    stems = {name.rpartition(".")[0].lower() for name in images}
    added: Counter[str] = Counter()
    first = ""
    for name in images:
        match = ADDED.fullmatch(name.rpartition(".")[0].lower())
        if match and match[1] in stems and "/" not in match[2]:
            added[match[2]] += 1
            first = first or name
    if not added or added.total() < FEWEST * len(images):
        return []
    words = ", ".join(shown(word) for word, _ in added.most_common(5))
    return [
        f"Look twice: {added.total()} images are called like another one beside them with "
        f"{words} at the end, such as {shown(first)}. If they are no photos, move them away. If "
        "they show the same as the other one, name what they show as a group."
    ]
