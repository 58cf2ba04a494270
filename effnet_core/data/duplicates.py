"""Images with equal pixels: no split puts them in two parts."""

import numpy as np

from effnet_core import cache
from effnet_core.data.datasets import Dataset
from effnet_core.data.names import shown

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
    pairs = [
        f"{shown(dataset.names[index])} = {shown(dataset.names[first[index]])}"
        for index in copies[:SHOWN]
    ]
    rest = f" and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
    labels = dataset.labels
    elsewhere = int((labels[copies] != labels[first[copies]]).sum())
    classes = f" {elsewhere} of them are in another class than their twin." if elsewhere else ""
    return (
        f"{len(copies)} of {len(dataset)} images have the same pixels as another, and no split "
        f"puts such images in two parts: {', '.join(pairs)}{rest}.{classes}"
        f"{describe_no_part(dataset, first)}"
    )


def describe_no_part(dataset: Dataset, first: np.ndarray) -> str:
    """A sentence about images that copies of official test images keep out of all parts."""
    aside = int(beside_official_test(dataset, first).sum())
    if dataset.official_test is None or not aside:
        return ""
    groups = "" if dataset.groups is None else ", or of an image of the same group,"
    return (
        f" With official_test, {aside} of the {int((~dataset.official_test).sum())} images outside "
        f"the test set are in no part, because the test set has a copy of them{groups} and a model "
        "must not be trained on it."
    )


def beside_official_test(dataset: Dataset, first: np.ndarray) -> np.ndarray:
    """Whether an image outside the official test set is a copy or in the group of one in it.

    Returns:
        Shape (N,), bool.
    """
    if dataset.official_test is None:
        return np.zeros(len(dataset), dtype=bool)
    reached, before = dataset.official_test, 0
    while reached.sum() > before:  # copies join groups, and groups have further copies
        before = reached.sum()
        reached = np.isin(first, first[reached])
        if dataset.groups is not None:
            reached |= np.isin(dataset.groups, dataset.groups[reached])
    return reached & ~dataset.official_test
