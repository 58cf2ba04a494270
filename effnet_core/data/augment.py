"""Augmentation: the views of an image that training shows, one per epoch.

A row number stands for one view of one image: view times the number of images, plus the index of
the image. View 0 is the image itself. The view that is shown depends on seed, epoch and image
alone, not on the order of batches or on a cache.
"""

from functools import cache

import numpy as np
import torch
from torch import nn

from effnet_core.study.design import Settings

# Number of views. They are the symmetries of a square: odd views are mirrored left to right, 2, 3,
# 6 and 7 upside down, 4 to 7 along the diagonal. Together these make the quarter turns.
VIEWS = {"none": 1, "mirror": 2, "flips": 4, "flips_and_turns": 8}
MOST_VIEWS = max(VIEWS.values())


def views(settings: Settings) -> int:
    """Number of views of a training image for which activations can be cached."""
    return VIEWS.get(settings.augment, 1)


def rows(images: np.ndarray, epoch: int, total: int, settings: Settings) -> np.ndarray:
    """The rows that an epoch shows for some images.

    Each image goes through all its views in turn, starting with one drawn at random. This balanced
    choice trains best (Jordan 2024, arXiv 2404.00498, "alternating flip"). With random
    augmentation, each epoch shows a new view.

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
        random_seed: seed of random views; None shows the symmetries of a square.
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
    """A crop of at least half the image, possibly mirrored, with slightly changed colours."""
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
