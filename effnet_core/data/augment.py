"""Augmentation: the views of an image that training shows, one per epoch.

A view of an image is a row: view times the number of images, plus the image's index. View 0 is
the image itself, so that rows below the number of images are the images. Which view is shown
follows from seed, epoch and image alone, never from the order of batches or from a cache.
"""

from functools import cache

import numpy as np
import torch
from torch import nn

from effnet_core.study.design import Settings

# The symmetries of a square, in this order: mirrored left to right (the odd ones), upside down
# (2, 3, 6, 7), and along the diagonal, which with these makes the quarter turns (4 to 7).
VIEWS = {"none": 1, "mirror": 2, "flips": 4, "flips_and_turns": 8}
MOST_VIEWS = max(VIEWS.values())


def views(settings: Settings) -> int:
    """How many views of a training image a run shows that frozen stages can be computed for."""
    return VIEWS.get(settings.augment, 1)


def rows(images: np.ndarray, epoch: int, total: int, settings: Settings) -> np.ndarray:
    """The rows that an epoch shows of images.

    Each image goes through all its views, from one that is drawn: of the ways to choose, such a
    balanced one trains best (Jordan 2024, arXiv 2404.00498, "alternating flip"). At random,
    each epoch is a view of its own.

    Args:
        images: indices, in any order.
        epoch: counted from 1.
        total: number of images in the data set.
    """
    if settings.augment == "random":
        return images + total * epoch
    count = views(settings)
    first = np.random.default_rng([settings.seed, count]).integers(count, size=total)
    return images + total * ((first[images] + epoch - 1) % count)


def show(images: np.ndarray, rows: np.ndarray, random_seed: int | None = None) -> np.ndarray:
    """The pixels of rows, shape (len(rows), side, side, 3), uint8.

    Args:
        images: shape (N, side, side, 3), uint8.
        random_seed: decides random views; without it views are the symmetries of a square.
    """
    shown, indices = np.divmod(rows, len(images))
    pixels = images[indices]
    for position in np.flatnonzero(shown):
        if random_seed is None:
            pixels[position] = _symmetry(pixels[position], int(shown[position]))
        else:
            pixels[position] = _random(
                pixels[position], [random_seed, shown[position], indices[position]]
            )
    return pixels


def _symmetry(image: np.ndarray, view: int) -> np.ndarray:
    if view & 4:
        image = image.swapaxes(0, 1)
    if view & 2:
        image = image[::-1]
    if view & 1:
        image = image[:, ::-1]
    return image.copy()


def _random(image: np.ndarray, key: list[int]) -> np.ndarray:
    """A crop of half the image or more, mirrored or not, in slightly other colours."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed = _transforms(len(image))(torch.from_numpy(image).permute(2, 0, 1))
    return changed.permute(1, 2, 0).numpy()


@cache
def _transforms(side: int) -> nn.Module:
    from torchvision.transforms import v2  # noqa: PLC0415  only for runs with random views

    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.5, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )
