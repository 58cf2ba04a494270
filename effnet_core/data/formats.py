"""Which files are images, and how they are opened: by Pillow alone, never by another program."""

from contextlib import suppress
from functools import cache
from pathlib import Path

from PIL import Image

from effnet_core.errors import InputError

# Pillow knows more: EPS would start Ghostscript, others are text, film or stubs.
FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
# Photos all the same where nothing installed decodes them, with what would.
PLUGINS = dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif") | {".avif": "pillow>=11.3"}


@cache
def _known() -> list[str]:
    """The formats that can be decoded here."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # noqa: PLC0415  optional

        register_heif_opener()
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def is_image(path: Path) -> bool:
    """Whether a file is meant as an image, by its name; one without an ending is.

    Raises:
        InputError: it is, and it needs a plugin that is not installed.
    """
    ending = path.suffix.lower()
    known = _known()
    if not ending or Image.registered_extensions().get(ending) in known:
        return True
    if ending in PLUGINS:
        raise InputError(
            f"{path}: nothing here decodes {ending[1:].upper()} images. "
            f"Install it (pip install '{PLUGINS[ending]}'), or convert the images to JPEG."
        )
    return False


def open_image(path: Path) -> Image.Image:
    """An image file, not yet decoded; whatever its name says, it is one of `FORMATS`."""
    return Image.open(path, formats=_known())
