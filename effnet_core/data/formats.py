"""Recognise and open image files, with Pillow alone and never with another program."""

import io
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

from effnet_core.data.headers import hidden_loss
from effnet_core.errors import InputError

# Pillow knows more formats: EPS would start Ghostscript, others are text, video or stubs.
FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
# Photo formats that may need another package, by file ending.
PLUGINS = dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif") | {".avif": "pillow>=11.3"}
# Pillow clips values above 8 bits or drops their lower bits: most such images turn white or black.
DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
DEEP_STORAGE = re.compile(r"SGI16|(RGB\w?|CMYK|LA|L|I|F);(10|12|14|16|24|32|64)")
SAMPLE_FORMAT, SUBFILE_TYPE = 339, 254  # TIFF tags
UNSIGNED, REDUCED = 1, 1  # their values for plain samples, and for a smaller copy of a page
BITS_PER_SAMPLE, PLANAR, SEPARATE = 258, 284, 2  # TIFF tags, and the value for separate planes
SAMPLES_PER_PIXEL, EXTRA_SAMPLES, ALPHA = 277, 338, {1, 2}  # TIFF tags, and values for alpha
# A TIFF tag, and the channels of its values: white or black is zero, RGB, palette, CMYK, YCbCr,
# CIELAB.
PHOTOMETRIC, COLOURS = 262, {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
MANY = 10**6  # of kinds that Pillow refuses
TIFF_MARKS = (b"II", b"MM")  # the first bytes of a TIFF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def _known() -> list[str]:
    """The formats that this installation can decode."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # noqa: PLC0415  optional

        register_heif_opener()
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def is_image(path: Path) -> bool:
    """Whether a file is an image, judged by its ending, or by its content if it has none.

    Raises:
        InputError: it is an image that needs a package which is not installed.
    """
    ending = path.suffix.lower()
    known = _known()
    if not re.search("[a-z]", ending):  # `scan 12.05.2024` ends in a date
        return _opens(path)
    if Image.registered_extensions().get(ending) in known:
        return True
    if ending in PLUGINS:
        raise InputError(
            f"{path} is in the format {ending[1:].upper()}, which no installed package decodes. "
            f"Install one (pip install '{PLUGINS[ending]}'), or convert the images to JPEG."
        )
    return False


def _opens(path: Path) -> bool:
    try:
        with Image.open(path, formats=_known()):
            return True
    except Exception:  # damaged files make Pillow raise almost anything
        return False


def open_image(source: Path | BinaryIO) -> Image.Image:
    """Open an image file in one of `FORMATS`, whatever its ending; pixels are decoded later."""
    return Image.open(source, formats=_known())


def check_whole(image: Image.Image) -> None:
    """Make sure that decoding loses nothing: no deep colour, further pages or extra channels.

    Raises:
        ValueError: part of the content would be lost silently.
    """
    stored = " ".join(str(tile[0]) + str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode in DEEP_MODES or DEEP_STORAGE.search(stored):
        raise ValueError("more than 8 bits a channel; convert it to 8 bits")
    if image.mode == "RGBX" or re.search("RGBXX|RGBAX", stored):
        raise ValueError("more channels than red, green, blue and alpha; keep the ones that count")
    if image.format == "TIFF":
        _check_tiff(image)


def _check_tiff(image: Image.Image) -> None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    if set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED}:
        raise ValueError("signed or floating-point values; convert it to 8 bits")
    for page in range(1, getattr(image, "n_frames", 1)):
        image.seek(page)
        if not image.tag_v2.get(SUBFILE_TYPE, 0) & REDUCED:  # type: ignore[attr-defined]
            raise ValueError("several pages; save the one that counts as an image of its own")
    image.seek(0)


def check_channels(image: Image.Image) -> None:
    """Make sure that Pillow decodes all channels of a TIFF, which `check_whole` does not notice.

    It decodes deep colours in separate planes to noise and drops channels such as infrared.

    Raises:
        ValueError: a channel has too many bits, or there are more than colours and transparency.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(PLANAR) == SEPARATE and max(tags.get(BITS_PER_SAMPLE, (8,))) > 8:
        raise ValueError("more than 8 bits a channel; convert it to 8 bits")
    colours = COLOURS.get(tags.get(PHOTOMETRIC, -1), MANY)
    alpha = not ALPHA.isdisjoint(tags.get(EXTRA_SAMPLES, ()))
    if tags.get(SAMPLES_PER_PIXEL, 1) > colours + alpha:
        raise ValueError("more channels than colours and alpha; keep the ones that count")


def why_not_whole(data: bytes) -> str:
    """Why the bytes of a file are refused though `check_whole` accepts them; mostly empty."""
    if not data.startswith(TIFF_MARKS):
        return hidden_loss(data)
    with suppress(Exception), open_image(io.BytesIO(data)) as image:  # decoding names other damage
        try:
            check_channels(image)
        except ValueError as error:
            return str(error)
    return ""


def turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that turns a photo upright, from the orientation that the camera stored.

    None if no orientation is stored or readable. Every other part of the program uses this
    function, so all show an image the same way up.
    """
    try:
        stored = image.getexif().get(ExifTags.Base.Orientation, 1)
        first = stored[0] if isinstance(stored, tuple | bytes) else stored
        return TURNS.get(int(first))
    except Exception:  # viewers show a photo with a damaged header as it is stored
        return None


def upright(image: Image.Image) -> Image.Image:
    """The image turned upright, as viewers show it."""
    image.load()  # some formats store the orientation after the pixels
    how = turn(image)
    return image if how is None else image.transpose(how)
