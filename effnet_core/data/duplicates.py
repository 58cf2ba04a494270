"""Images with equal pixels: a split keeps them in the same part."""

import numpy as np

from effnet_core import cache
from effnet_core.data.datasets import Dataset

SHOWN = 10


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """For each image, the index of the first image with equal pixels, which is mostly its own.

    Args:
        images: decoded as the model sees them, shape (N, side, side, 3), uint8. Different files
            with equal pixels count as equal.

    Returns:
        Shape (N,), int64.
    """
    first = np.arange(len(images))
    seen: dict[int, list[int]] = {}
    for index, image in enumerate(images):
        alike = seen.setdefault(cache.checksum(image), [])
        twin = next((other for other in alike if np.array_equal(images[other], image)), None)
        if twin is None:
            alike.append(index)
        else:
            first[index] = twin
    return first


def describe_duplicates(dataset: Dataset, first: np.ndarray) -> str:
    """A sentence about images with equal pixels; empty if there are none."""
    copies = np.flatnonzero(first != np.arange(len(first)))
    if not len(copies):
        return ""
    names = [repr(name)[1:-1] for name in dataset.names]  # nothing in it acts on a terminal
    pairs = [f"{names[index]} = {names[first[index]]}" for index in copies]
    rest = f" and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
    labels = dataset.labels
    elsewhere = int((labels[copies] != labels[first[copies]]).sum())
    classes = f" {elsewhere} of them are in another class than their twin." if elsewhere else ""
    return (
        f"{len(copies)} of {len(dataset)} images have the same pixels as another, and go to the "
        f"same part as it: {', '.join(pairs[:SHOWN])}{rest}.{classes}"
    )
