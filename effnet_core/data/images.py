"""Images as arrays, decoded and resized once and shared by all runs."""

import errno
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock
from PIL import Image, ImageFile, ImageOps

from effnet_core import cache
from effnet_core.data.datasets import Dataset, content
from effnet_core.data.formats import check_whole, open_image, upright
from effnet_core.data.remote import doubt
from effnet_core.errors import InputError, cannot
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Background, Resize

# Number of attempts when somebody deletes the files meanwhile.
ATTEMPTS = 3


def load_images(
    dataset: Dataset, size: int, resize: Resize = "squash", background: Background = "white"
) -> np.ndarray:
    """Load all images of a data set, resized to a square.

    The first call for a data set and size decodes all images into one file; later calls and other
    processes map that file. A file gets its name when it is complete. The name contains a hash of
    the bytes of all images, and each image is decoded from the bytes that were hashed.

    Args:
        dataset: the images.
        size: side of the square, pixels.
        resize, background: as in `decode`.

    Returns:
        Shape (N, size, size, 3), uint8, read-only and memory-mapped.

    Raises:
        InputError: an image cannot be read (the message names it), or the disk has no room for
            the decoded images.
    """
    path = _place(dataset, size, resize, background)
    shape = (len(dataset), size, size, 3)
    try:
        for _ in range(ATTEMPTS):
            # The folder may be deleted by hand at any time; then it is created again.
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
    except InputError:
        if isinstance(dataset.images[0], Path):
            doubt(dataset.images[0])
        raise
    except OSError as error:
        amount = f"{np.prod(shape) / 1e9:.2f} GB of decoded images"
        raise cannot(f"keep {amount} in {path.parent}", error) from None
    raise InputError(
        f"Decoded images in {path.parent} were deleted or changed right after they were written. "
        "Find the program that deletes files there, and check the disk."
    )


def _place(dataset: Dataset, size: int, resize: Resize, background: Background) -> Path:
    """The file of decoded images."""
    made_by = (code_fingerprint("images"), resize, background, PIL.__version__)
    return cache.keyed("images", f"{dataset.name}-{size}", dataset.fingerprint, size, *made_by)


def are_decoded(
    images: np.ndarray, dataset: Dataset, size: int, resize: Resize, background: Background
) -> bool:
    """Whether images are those that `load_images` gives: its own array, or equal ones."""
    if isinstance(images, np.memmap) and images.filename is not None:
        whole = images.flags.c_contiguous and len(images) == len(dataset)
        place = _place(dataset, size, resize, background)
        if whole and not images.flags.writeable and Path(images.filename) == place.absolute():
            return True
    return np.array_equal(images, load_images(dataset, size, resize, background))


def _opened(path: Path, shape: tuple[int, ...]) -> np.memmap | None:
    """The decoded images in a file; None if the file is missing or a checksum differs."""
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
    if ImageFile.LOAD_TRUNCATED_IMAGES:  # usual advice for notebooks
        raise InputError(
            "ImageFile.LOAD_TRUNCATED_IMAGES is on, so the missing parts of damaged images would "
            "become grey. Turn it off, and replace the images that cannot be read."
        )
    with (
        cache.new_array(path, np.uint8, shape) as images,
        cache.new_array(cache.checksums_path(path), np.uint32, shape[:1]) as checksums,
        ThreadPoolExecutor() as pool,
    ):

        def view(index: int) -> np.ndarray:
            data = _hashed(dataset, index)
            return decode(dataset.images[index], shape[1], resize, background, data)

        # Pillow releases the interpreter lock, so threads decode in parallel.
        for index, image in enumerate(pool.map(view, range(len(dataset)))):
            images[index] = image
            checksums[index] = cache.checksum(image)
        if not _agree(images, checksums):
            raise OSError(errno.EIO, "they are not what was written a moment ago")


def _hashed(dataset: Dataset, index: int) -> bytes:
    """The bytes of an image, checked against the hash in the data set's fingerprint."""
    data = content(dataset.images[index])
    if hashlib.sha256(data).digest() != dataset.digests[index]:
        raise InputError(
            f"{dataset.images[index]} was changed while the images were read. Start again when no "
            "program writes to the data folder."
        )
    return data


def decode(
    image: Path | np.ndarray,
    size: int,
    resize: Resize = "squash",
    background: Background = "white",
    data: bytes | None = None,
) -> np.ndarray:
    """Decode one image as the model sees it before normalisation: upright, RGB, resized (bicubic).

    The first frame stands for an animation.

    Args:
        size: side of the square, pixels.
        resize: `squash` changes the aspect ratio, `pad` fills up the short side, `crop` cuts off
            both ends of the long side.
        background: colour behind transparent pixels and in the padding.
        data: the bytes of the file, if they have been read already.

    Returns:
        Shape (size, size, 3), uint8.

    Raises:
        InputError: not an image, truncated, fully transparent, too large to decode safely, or
            with content that would be lost: see `check_whole`.
    """
    try:
        if isinstance(image, np.ndarray):
            flat = flatten(Image.fromarray(image), background)
        else:
            with open_image(io.BytesIO(content(image) if data is None else data)) as opened:
                check_whole(opened)
                flat = flatten(upright(opened), background)
    except Exception as error:  # damaged files make Pillow raise almost anything
        raise InputError(
            f"{image} cannot be read as an image ({_reason(error)}). "
            "Replace it, or move it out of the data folder; nothing was trained."
        ) from None
    square, bicubic = (size, size), Image.Resampling.BICUBIC
    if resize == "pad":
        return np.asarray(ImageOps.pad(_thickened(flat, size), square, bicubic, background))
    if resize == "crop":
        return np.asarray(ImageOps.fit(flat, square, bicubic))
    return np.asarray(flat.resize(square, bicubic))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).replace(" <_io.BytesIO object", "").split(" at 0x")[0]


def flatten(image: Image.Image, background: Background) -> Image.Image:
    """Convert to RGB, and show the background through transparent pixels.

    Raises:
        ValueError: every pixel is transparent.
    """
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    if picture.getchannel("A").getextrema()[1] == 0:
        raise ValueError("every pixel is transparent, so there is nothing to see")
    below = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(below, picture).convert("RGB")


def _thickened(image: Image.Image, size: int) -> Image.Image:
    """The image, scaled to one row of pixels if padding would shrink it to less than that."""
    long, short = max(image.size), min(image.size)
    if round(short / long * size) > 0:
        return image
    row = (size, 1) if image.width == long else (1, size)
    return image.resize(row, Image.Resampling.BICUBIC)
