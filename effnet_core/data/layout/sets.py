"""Remark on images that come in sets of versions, by words that recur after or before a name."""

import re
from collections import Counter
from collections.abc import Sequence

from effnet_core.data.layout.companions import FEWEST, without_ending
from effnet_core.data.names import shown

# Words for what a program or a further camera makes of a photo, and words for photos.
MADE = re.compile(
    "depth(map)?s?|nir|ir|infrared|thermal|flair|dwi|adc|disparity|edges?|heat(map)?|gr[ae]y(scale)?"
    "|(mask|seg)[^\\W\\d_]*|crop(ped)?|aug(mented)?|rot(ated?)?|[hv]?flip(ped)?|mirror(ed)?|resized"
    "|blur(red)?|noisy?|enhanced|denoised|processed|tile|patch"
)
PHOTO = re.compile("rgb|colou?r|orig(inal)?|raw|img|image|photo|scan")
# Words before the number of a version, such as crop_0 and x1_y0. Other numbers count images.
COUNTED = (
    r"(?:(?:crop|aug|augmented|tile|patch|rot|flip|view|frame)[\W_]*\d+"
    r"|(?:x|row)[\W_]*\d+[\W_]*(?:y|col)[\W_]*\d+)"
)
TURNS = {"0", "90", "180", "270"}
ENDS = (
    re.compile(rf"(?P<start>.*\d.*?)[\W_]+(?P<word>{COUNTED})[\W_]*"),
    re.compile(r"(?P<start>.+?)[\W_]+(?P<word>0|90|180|270)(?:[\W_]*deg(?:rees?)?)?[\W_]*"),
    re.compile(r"(?P<start>.*\d[^\W_]*)[\W_]+(?P<word>[^\W\d_]+(?:[\W_]+[^\W\d_]+)*)[\W_]*"),
    re.compile(r"(?P<start>.*\d)(?P<word>[^\W\d_]+)[\W_]*"),
    re.compile(rf"(?P<start>.+)[\W_]+(?P<word>{MADE.pattern}|{PHOTO.pattern})"),
)
BEGINNING = re.compile(rf"(?P<word>(?:{MADE.pattern}|{PHOTO.pattern})\d*)[\W_]+(?P<start>.+)")
FEWEST_SETS = 3  # in a folder


def sets_of_versions(images: Sequence[str]) -> list[str]:
    """A remark if most images of some folders come in sets whose names differ in the same words.

    `apple_0_rgb` and `apple_0_depth` are a set if `apple_1_rgb` and `apple_1_depth` are there too,
    and so are `0_crop0` and `0_crop1`. If there is a `0` as well, see `companions.versions`.
    """
    by_folder: dict[str, list[str]] = {}
    for name in images:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    all_sets = [
        versions
        for names in by_folder.values()
        for versions in (_usual(names, ENDS) or _usual(names, (BEGINNING,)))
    ]
    number = sum(map(len, all_sets))
    if number < max(1, FEWEST * len(images)):
        return []
    first, second, *_ = all_sets[0].values()
    words = [*dict.fromkeys(word for versions in all_sets for word in versions)]
    listed = ", ".join(map(shown, words[:5])) + " ..." * (len(words) > 5)
    return [
        f"Look twice: {number} images come in sets whose names differ only in {listed}, such as "
        f"{shown(first)} and {shown(second)}. If some are no photos, move them away. If the images "
        "of a set show the same object, name the object as a group."
    ]


def _usual(names: Sequence[str], patterns: Sequence[re.Pattern[str]]) -> list[dict[str, str]]:
    """The sets in one folder that have words of the most common kinds, if these are most images."""
    stems = {name: without_ending(name).rpartition("/")[2].lower() for name in names}
    plain = {*stems.values()}
    sets: dict[str, dict[str, str]] = {}
    for name, stem in stems.items():
        match = next(filter(None, (pattern.fullmatch(stem) for pattern in patterns)), None)
        if match and match["start"] not in plain:
            sets.setdefault(match["start"], {})[match["word"]] = name
    several = [(versions, _kinds(versions)) for versions in sets.values() if len(versions) > 1]
    images: Counter[frozenset[str]] = Counter()
    for versions, kinds in several:
        images[kinds] += len(versions)
    usual = max(images, key=images.__getitem__, default=frozenset[str]())
    alike = [versions for versions, kinds in several if kinds <= usual and _tells(kinds)]
    many = len(alike) >= FEWEST_SETS and 2 * sum(map(len, alike)) > len(names)
    return alike if many else []


def _kinds(versions: dict[str, str]) -> frozenset[str]:
    """The words of a set, without the numbers of those that are counted: crop for crop_0."""
    return frozenset(
        word if word in TURNS else re.sub(r"[\W\d_]+", " ", word).strip() for word in versions
    )


def _tells(kinds: frozenset[str]) -> bool:
    """Whether words may be those of versions: `img` and `scan` are no more than two photos."""
    return not all(map(PHOTO.fullmatch, kinds))
