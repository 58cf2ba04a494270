"""A contact sheet: a few images of each class, as the network would see them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from effnet_core.data.datasets import Dataset
from effnet_core.data.images import decode
from effnet_core.errors import InputError
from effnet_core.study.design import Protocol

SIDE, MARGIN, WORDS, COLUMNS, CLASSES, LETTERS = 112, 6, 200, 8, 30, 24


def save(dataset: Dataset, protocol: Protocol, path: Path) -> None:
    """One row a class, the commonest first, at most 30; each with up to eight of its images.

    Args:
        dataset: files with labels; those that cannot be read are left out.
        protocol: says how an image becomes a square.
        path: of the JPEG file.
    """
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    shown = np.argsort(-counts, kind="stable")[:CLASSES]
    step = SIDE + MARGIN
    sheet = Image.new("RGB", (WORDS + COLUMNS * step, MARGIN + len(shown) * step), "#f4f4f4")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, label in enumerate(shown):
        top = MARGIN + row * step
        name = dataset.classes[label]
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
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=88)
