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
        "masks?|masked|masken?|masques?|m[a\u00e1]scaras?|mascher[ae]|segm?|segmented"
        "|segmentations?|segmentation(?:class|object)|gt|ground[ _-]?truth|labels?|trimaps?"
        "|annotations?|annotated|overlays?"
    )
)
THUMBNAIL_WORD = re.compile(_WORD.format(r"thumbs?|thumbnails?|previews?|\d+x\d+"))
# Words in the names of photos to which masks belong, as in `img_1` beside `mask_1`.
PHOTO_WORD = re.compile(_WORD.format("img|image|photo|picture|scan|slice|rgb|original|orig|raw"))
PHOTO_FOLDER = re.compile(
    "(?:jpe?g|png)?(?:im(?:g|age)|photo|picture|scan|rgb|original|orig|raw|input)s?", re.I
)
# What the name of a version has besides that of the image: `_roi`, `(1)` or `_90` after it, `_roi`
# before its number, or words such as `aug_` before it.
AFTER = re.compile(
    r"(?P<start>.+?)(?P<added>[\W_]+[^\W_]*[^\W\d_][^\W_]*|(?<=\d)[^\W\d_]+|\s?\(\d+\)"
    r"|[\W_](?:90|180|270)|~\d+)(?P<end>)"
)
EDITED = re.compile(r"(?P<start>img_)(?P<added>e)(?P<end>\d+)")  # of a phone
WITHIN = re.compile(r"(?P<start>.+?)(?P<added>[\W_]+[^\W_]*[^\W\d_][^\W_]*)(?P<end>[\W_]+\d+)")
BEFORE = re.compile(r"(?P<start>)(?P<added>[^\W\d_]+(?:\d*[\W_]+|(?=\d)))(?P<end>.+)")
COPY = re.compile(r"(?P<start>)(?P<added>(?:[^\W\d_]+\s){2,})(?P<end>.+)")  # `Copy of 1`
ENDING = re.compile(r"(?<=[^/])\.[^./]*[A-Za-z][^./]*$")
FEWEST = 0.1  # share of versions among all images that is remarked


def companions(images: Sequence[str], word: re.Pattern[str]) -> list[str]:
    """The images whose names repeat that of another image, if most of those with a word do.

    The file has the word, as `cat/1_mask.png` beside `cat/1.png`, or its folder, as
    `cat/mask/1.png` beside `cat/1.png` or `cat/images/1.png`. Beside `cat/siam/1.png` it may be a
    thing: 1.png is the first image of any folder. So may `cat_mask_1.png` beside `cat_1.png`; see
    `versions`.

    Args:
        images: paths of all images.
        word: a word for masks or thumbnails in the names of files and folders.
    """
    by_name: dict[str, set[tuple[str, str]]] = {}
    by_folder: dict[str, set[tuple[str, str]]] = {}
    has_word = {place: _has_word(place, word) for place in set(map(_place, images))}
    for name in images:
        place, file = _place(name), _last(name)
        if has_word[place]:
            beside = (_place(place), f"{_place(place)}/*")
            by_folder[name] = {(it, key) for it in beside for key in _keys(file, word)}
        elif (match := word.search(file)) and not _is_thing(file, match):
            by_name[name] = {(place, key) for key in _keys(file, word)}
    if not (marked := by_name | by_folder):
        return []
    around = {place for keys in marked.values() for place, _ in keys}
    photos = {
        (place, key)
        for name in images
        if name not in marked
        for place in around.intersection(_places(name))
        for key in _keys(_last(name), word)
    }
    found: list[str] = []
    for some in (by_name, by_folder):
        repeating = [name for name, keys in some.items() if keys & photos]
        found += repeating if 2 * len(repeating) > len(some) else []
    return found


def _is_thing(file: str, word: re.Match[str]) -> bool:
    """Whether a word may be part of the name of a thing, as in `bottle_label_1` or `ford_gt_1`."""
    before, after = file[: word.start()], file[word.end() :].rpartition(".")[0]
    return bool(after) and has_letters(before + after) and not re.search(r"\d", before)


def has_letters(stem: str) -> bool:
    """Whether a name has letters besides those of words such as `img`."""
    return bool(re.search(r"[^\W\d_]", PHOTO_WORD.sub("", stem)))


def _has_word(place: str, word: re.Pattern[str]) -> bool:
    """Whether a folder that is no class, because it lies in one, has a word in its name."""
    inside = _last(_place(place))
    return bool(inside and not part_of(inside) and word.search(_last(place)))


def _places(name: str) -> list[str]:
    """The folder of a photo, and `x/*` for a folder of photos in x."""
    place = _place(name)
    return [place, f"{_place(place)}/*"] if PHOTO_FOLDER.fullmatch(_last(place)) else [place]


def _place(path: str) -> str:
    return path.rpartition("/")[0]


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _keys(file: str, word: re.Pattern[str]) -> set[str]:
    """What the name of a photo would be, without marks; `1_mask_0` may belong to `1` or `1_0`.

    It is empty for `mask` and for `image`, which belong together.
    """
    stem = file.rpartition(".")[0] or file
    match = word.search(stem)
    if not match:
        return {_plain(stem)}
    before = stem[: match.start()]
    return {_plain(f"{before} {stem[match.end() :]}")} | ({_plain(before)} - {""})


def _plain(stem: str) -> str:
    return " ".join(re.split(r"[\W_]+", PHOTO_WORD.sub(" ", stem).lower())).strip()


def without_ending(name: str) -> str:
    """The path of an image without its ending: `scan 12.05.2024` has none, but ends in a date."""
    match = ENDING.search(name)
    return name[: match.start()] if match else name


def versions(images: Sequence[str]) -> list[str]:
    """A remark about images called like another one beside them, but for a word or the format."""
    stems = {without_ending(name).lower() for name in images}
    seen: set[str] = set()
    added: Counter[str] = Counter()
    first = ""
    for name in images:
        stem = without_ending(name)
        word = name[len(stem) :] if stem.lower() in seen else _added(stem.lower(), stems)
        seen.add(stem.lower())
        if word:
            added[word] += 1
            first = first or name
    if not added or added.total() < FEWEST * len(images):
        return []
    words = ", ".join(shown(word) for word, _ in added.most_common(5))
    return [
        f"Look twice: {added.total()} images are called like another one beside them but for "
        f"{words}, such as {shown(first)}. If they are no photos, move them away. If they show the "
        "same as the other one, name what they show as a group."
    ]


def _added(stem: str, stems: set[str]) -> str:
    """What a name has besides that of another image in its folder; empty without such an image."""
    place, slash, file = stem.rpartition("/")
    for pattern in (AFTER, WITHIN, BEFORE, COPY, EDITED):
        match = pattern.fullmatch(file)
        if match and f"{place}{slash}{match['start']}{match['end']}" in stems:
            return match["added"]
    return ""
