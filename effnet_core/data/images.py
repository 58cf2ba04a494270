"""Images as arrays: each decoded and resized once, kept as bytes, shared by all runs."""

import errno
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock
from PIL import Image, ImageOps

from effnet_core import cache
from effnet_core.data.datasets import Dataset
from effnet_core.data.formats import open_image
from effnet_core.errors import InputError, cannot
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Background, Resize

# How often decoding starts again when the files vanish under it.
ATTEMPTS = 3

# Pillow would clip their values at 255 and so turn most such images white.
DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def load_images(
    dataset: Dataset, size: int, resize: Resize = "squash", background: Background = "white"
) -> np.ndarray:
    """All images of a data set, resized to a square.

    The first call for a data set and size decodes every image into a file; later calls, and
    other processes, map that file. A file is complete before it gets its name.

    Args:
        dataset: which images.
        size: side of the square, pixels.
        resize, background: as in `decode`.

    Returns:
        Shape (N, size, size, 3), uint8, read-only and memory-mapped.

    Raises:
        InputError: an image cannot be read: it is named, and nothing is trained on the rest;
            or the disk has no room for the decoded images.
    """
    made_by = (code_fingerprint("images"), resize, background, PIL.__version__)
    path = cache.place("images", f"{dataset.name}-{size}", dataset.fingerprint, size, *made_by)
    shape = (len(dataset), size, size, 3)
    try:
        for _ in range(ATTEMPTS):
            # Somebody may delete the folder by hand at any time: then it is made again.
            with suppress(FileNotFoundError):
                images = _opened(path, shape)
                if images is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with FileLock(path.with_suffix(".lock")):
                        images = _opened(path, shape)  # another process may have filled it
                        if images is None:
                            _fill(path, shape, dataset, resize, background)
                            images = _opened(path, shape)
                if images is not None:
                    return images
    except OSError as error:
        kept = f"{np.prod(shape) / 1e9:.2f} GB of decoded images"
        raise cannot(f"keep {kept} in {path.parent}", error) from None
    raise InputError(
        f"Decoded images do not stay in {path.parent} as they were written. Look at what deletes "
        "files there, and at the disk."
    )


def _opened(path: Path, shape: tuple[int, ...]) -> np.memmap | None:
    """The decoded images that are there; None unless each is as it was written."""
    try:
        images = cache.open_array(path)
        checksums = np.load(cache.checksums_path(path))
    except (OSError, EOFError, ValueError):
        return None
    return images if images.shape == shape and _agree(images, checksums) else None


def _agree(images: np.ndarray, checksums: np.ndarray) -> bool:
    return checksums.tolist() == [cache.checksum(image) for image in images]


def _fill(
    path: Path,
    shape: tuple[int, ...],
    dataset: Dataset,
    resize: Resize,
    background: Background,
) -> None:
    with (
        cache.new_array(path, np.uint8, shape) as images,
        cache.new_array(cache.checksums_path(path), np.uint32, shape[:1]) as checksums,
        ThreadPoolExecutor() as pool,
    ):
        # Pillow lets other threads compute meanwhile; no run can begin before this is done.
        how = (repeat(shape[1]), repeat(resize), repeat(background))
        for index, image in enumerate(pool.map(decode, dataset.images, *how)):
            images[index] = image
            checksums[index] = cache.checksum(image)
        if not _agree(images, checksums):
            raise OSError(errno.EIO, "they are not what was written a moment ago")


def decode(
    image: Path | np.ndarray,
    size: int,
    resize: Resize = "squash",
    background: Background = "white",
) -> np.ndarray:
    """One image as the model sees it before normalisation: upright, RGB, resized (bicubic).

    Of an animation, the first frame is taken.

    Args:
        size: side of the square, pixels.
        resize: squash changes the aspect ratio, pad fills up the short side, crop cuts off both
            ends of the long one.
        background: what shows through transparency, and what pad fills up with.

    Returns:
        Shape (size, size, 3), uint8.

    Raises:
        InputError: not an image, truncated, more than 8 bits a channel, or so large that
            decoding it is refused.
    """
    try:
        opened = Image.fromarray(image) if isinstance(image, np.ndarray) else open_image(image)
        with opened:
            if opened.mode in DEEP_MODES:
                raise ValueError("more than 8 bits a channel; convert it to 8 bits")
            flat = _flat(ImageOps.exif_transpose(opened), background)
    except Exception as error:  # damaged files make Pillow raise almost anything
        raise InputError(
            f"{image} cannot be read as an image ({error}). "
            "Replace it, or move it out of the data folder; nothing was trained."
        ) from None
    square, bicubic = (size, size), Image.Resampling.BICUBIC
    if resize == "pad":
        return np.asarray(ImageOps.pad(flat, square, bicubic, background))
    if resize == "crop":
        return np.asarray(ImageOps.fit(flat, square, bicubic))
    return np.asarray(flat.resize(square, bicubic))


def _flat(image: Image.Image, background: Background) -> Image.Image:
    """RGB, over the background where it is transparent: colours hidden there are no picture."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    below = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
