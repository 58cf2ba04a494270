"""Images as arrays: each decoded and resized once, kept as bytes, shared by all runs."""

import os
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock
from PIL import Image, ImageOps

from effnet_core import cache
from effnet_core.data.datasets import Dataset
from effnet_core.errors import InputError

# Part of the cache key: change it whenever `decode` gives other pixels.
TRANSFORM = "exif-rgb-bicubic-squash-1"

# Pillow would clip their values at 255 and so turn most such images white.
DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def load_images(dataset: Dataset, size: int) -> np.ndarray:
    """All images of a data set, resized to a square.

    The first call for a data set and size decodes every image into a file; later calls, and
    other processes, map that file. A file is complete before it gets its name.

    Args:
        dataset: which images.
        size: side of the square, pixels. The whole image is kept; its aspect ratio is not.

    Returns:
        Shape (N, size, size, 3), uint8, read-only and memory-mapped.

    Raises:
        InputError: an image can not be read. It is named, and nothing is trained on the rest.
    """
    made_by = (TRANSFORM, PIL.__version__)
    path = cache.place("images", f"{dataset.name}-{size}", dataset.fingerprint, size, *made_by)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():  # another process may have filled it while we waited
                _fill(path, dataset, size)
    return np.load(path, mmap_mode="r")


def _fill(path: Path, dataset: Dataset, size: int) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    shape = (len(dataset), size, size, 3)
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for index, image in enumerate(dataset.images):
            array[index] = decode(image, size)
        array.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def decode(image: Path | np.ndarray, size: int) -> np.ndarray:
    """One image as the model sees it before normalisation: upright, RGB, resized (bicubic).

    Returns:
        Shape (size, size, 3), uint8.

    Raises:
        InputError: not an image, truncated, more than 8 bits a channel, or so large that
            decoding it is refused.
    """
    if isinstance(image, np.ndarray):
        return _square(Image.fromarray(image), size)
    try:
        with Image.open(image) as opened:
            if opened.mode in DEEP_MODES:
                raise ValueError("more than 8 bits a channel; convert it to 8 bits")
            return _square(ImageOps.exif_transpose(opened), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{image} can not be read as an image ({error}). "
            "Replace it, or move it out of the data folder; nothing was trained."
        ) from None


def _square(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
