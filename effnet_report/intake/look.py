"""Inspect all images of a data set before training."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from effnet_core.data.datasets import Dataset
from effnet_core.data.formats import check_whole, open_image, turn, upright, why_not_whole
from effnet_core.data.images import flatten

# Side of a thumbnail. Images are near-identical if the root mean square difference of their
# thumbnails is below this number of 255 levels, and identical if it is zero.
THUMBNAIL, NEAR = 8, 4.0
COMPARED = 20_000  # images to compare; more would take minutes
SIDEWAYS = {
    *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270),
    *(Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90),
}


@dataclass(frozen=True)
class Look:
    """The result of an inspection.

    Attributes:
        images: one row per image: name, class, format, width, height, mode, transparent, frames,
            picture (equal for equal pixels), error (empty if it can be read).
        twins: one row per pair of images that look alike: first, second (names), identical,
            across (in different classes).
    """

    images: pd.DataFrame
    twins: pd.DataFrame

    @property
    def unreadable(self) -> pd.DataFrame:
        return self.images[self.images["error"] != ""]

    @property
    def side(self) -> float:
        """Short side of the median image, pixels."""
        sizes = self.images.loc[self.images["error"] == "", ["width", "height"]]
        return float(sizes.min(axis=1).median())

    @property
    def first_of_equals(self) -> np.ndarray:
        """For each image, the index of the first image with equal pixels, shape (N,), int64."""
        numbers, _ = pd.factorize(self.images["picture"])
        return np.unique(numbers, return_index=True)[1][numbers]


def look(dataset: Dataset, report: Callable[[int], None] = lambda _: None) -> Look:
    """Open every image once.

    Args:
        dataset: files with labels.
        report: called after each image, with the number of images so far.
    """
    seen: list[dict[str, Any]] = []
    thumbnails = np.zeros((len(dataset), THUMBNAIL, THUMBNAIL, 3), np.uint8)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for index, (facts, small) in enumerate(pool.map(_facts, dataset.images)):
            kind = dataset.classes[dataset.labels[index]]
            seen.append({"name": dataset.names[index], "class": kind, **facts})
            thumbnails[index] = small
            report(index + 1)
    images = pd.DataFrame(seen)
    return Look(images, _twins(images, thumbnails))


def _facts(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Properties and a thumbnail of an image file, or the reason why it cannot be read."""
    facts: dict[str, Any] = {
        **{"format": "", "width": 0, "height": 0, "mode": "", "transparent": False, "frames": 1},
        **{"picture": str(path), "error": ""},
    }
    try:
        with open_image(path) as image:
            check_whole(image)
            if why := why_not_whole(path.read_bytes()):
                raise ValueError(why)
            width, height = image.size
            facts |= {"format": str(image.format), "frames": getattr(image, "n_frames", 1)}
            facts |= {"mode": image.mode, "transparent": _shines_through(image)}
            image.draft("RGB", (4 * THUMBNAIL, 4 * THUMBNAIL))  # JPEG: decoded smaller
            picture = flatten(upright(image), "white")
            # Width and height as shown: a photo taken sideways has them exchanged.
            if turn(image) in SIDEWAYS:
                width, height = height, width
            facts |= {"width": width, "height": height}
            facts["picture"] = hashlib.sha256(f"{width} {height}".encode() + picture.tobytes())
            facts["picture"] = facts["picture"].hexdigest()
            return facts, np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    except Exception as error:  # damaged files make Pillow raise almost anything
        facts["error"] = " ".join(str(error).split()) or type(error).__name__
    return facts, np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)


def _shines_through(image: Image.Image) -> bool:
    """Whether at least one pixel is transparent."""
    if not image.has_transparency_data:
        return False
    return image.convert("RGBA").getchannel("A").getextrema()[0] < 255  # type: ignore[operator]


def _twins(images: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    """Pairs of readable images that look alike, each image with its first likeness only."""
    sound = np.flatnonzero((images["error"] == "").to_numpy())[:COMPARED]
    names, kinds = images["name"].to_numpy(), images["class"].to_numpy()
    rows = [
        (names[first], names[second], bool(distance == 0), bool(kinds[first] != kinds[second]))
        for first, second, distance in _alike(
            thumbnails[sound].reshape(len(sound), 3 * THUMBNAIL**2), sound
        )
    ]
    return pd.DataFrame(rows, columns=["first", "second", "identical", "across"])


def _alike(flat: np.ndarray, indices: np.ndarray) -> Iterator[tuple[int, int, float]]:
    values = flat.astype(np.float64)
    squares = (values**2).sum(axis=1)
    for start in range(0, len(values), 1000):
        block = slice(start, start + 1000)
        distances = squares[block, None] + squares - 2 * values[block] @ values.T
        near = np.sqrt(np.maximum(distances, 0) / values.shape[1]) < NEAR
        for row, neighbours in enumerate(near, start=start):
            earlier = np.flatnonzero(neighbours[:row])
            if len(earlier):
                first = earlier[0]
                yield indices[first], indices[row], float(distances[row - start, first])
