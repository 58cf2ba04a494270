"""A contact sheet with a few images of each class, as the network sees them."""

from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from effnet_core import files
from effnet_core.data.datasets import Dataset
from effnet_core.data.images import decode
from effnet_core.errors import InputError
from effnet_core.study.design import Protocol

SIDE, MARGIN, WORDS = 112, 6, 200  # pixels of an image, around it, and of the column of names
COLUMNS, CLASSES = 8, 30  # images in a row; rows
LETTERS = 24  # of a name


def save(dataset: Dataset, protocol: Protocol, path: Path) -> dict[int, str]:
    """Draw one row of up to eight images per class, for the 30 most common classes.

    Args:
        dataset: files with labels; unreadable files are left out.
        protocol: sets the size and how an image becomes a square.
        path: path of the JPEG file.

    Returns:
        Names of classes that no installed font can write, by the number that stands for them.
    """
    numbered: dict[int, str] = {}
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    shown = np.argsort(-counts, kind="stable")[:CLASSES]
    step = SIDE + MARGIN
    sheet = Image.new("RGB", (WORDS + COLUMNS * step, MARGIN + len(shown) * step), "#f4f4f4")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(shown):
        top = MARGIN + row * step
        name = dataset.classes[label]
        font = _font_for(name)
        if font is None:
            numbered[row + 1] = name
            name, font = f"class {row + 1}", ImageFont.load_default(14)
        name = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
        draw.text((MARGIN, top + SIDE / 3), f"{name}\n{counts[label]} images", "black", font)
        members = np.flatnonzero(dataset.labels == label)
        spread = members[np.linspace(0, len(members) - 1, min(COLUMNS, len(members))).astype(int)]
        for column, index in enumerate(spread):
            try:
                view = decode(dataset.images[index], SIDE, protocol.resize, protocol.background)
            except InputError:
                continue
            sheet.paste(Image.fromarray(view), (WORDS + column * step, top))
    with files.replaced(path) as partial:
        sheet.save(partial, "JPEG", quality=88)
    return numbered


def _font_for(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    """An installed font with all letters of a text."""
    if text.isascii():
        return ImageFont.load_default(14)
    bundled = get_data_path() + "/fonts/ttf/DejaVuSans.ttf"
    for font in (bundled, *sorted(findSystemFonts())):
        try:
            if set(map(ord, text)) <= FT2Font(font).get_charmap().keys():
                return ImageFont.truetype(font, 14)
        except (OSError, RuntimeError):  # a format that cannot be read
            continue
    return None
