"""Images with the same pixels, under whatever names: no split may part them."""

import numpy as np

from effnet_core import cache
from effnet_core.data.datasets import Dataset

SHOWN = 10


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """For each image the index of the first one with the same pixels: mostly its own.

    Args:
        images: decoded, shape (N, side, side, 3), uint8. What the model sees decides: two files
            that differ and look the same to it are the same.

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


def first_of_copies(dataset: Dataset) -> np.ndarray:
    """The same by the bytes of the files alone, where images are not decoded; shape (N,), int64."""
    _, first, numbers = np.unique(dataset.digests, return_index=True, return_inverse=True)
    return first[numbers]


def describe_duplicates(dataset: Dataset, first: np.ndarray) -> str:
    """What to know about images that are there more than once; empty if there are none."""
    copies = np.flatnonzero(first != np.arange(len(first)))
    if not len(copies):
        return ""
    pairs = [f"{dataset.names[index]} = {dataset.names[first[index]]}" for index in copies]
    rest = f" and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
    labels = dataset.labels
    elsewhere = int((labels[copies] != labels[first[copies]]).sum())
    classes = f" {elsewhere} of them are in another class than their twin." if elsewhere else ""
    return (
        f"{len(copies)} of {len(dataset)} images have the same pixels as another, and go to the "
        f"same part as it: {', '.join(pairs[:SHOWN])}{rest}.{classes}"
    )
