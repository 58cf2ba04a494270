"""Which image is for what: a test set that is the same for all runs, the rest by seed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from effnet_core.data.datasets import Dataset
from effnet_core.errors import InputError
from effnet_core.study.design import Settings

# Fixes the subset and the test set for all runs of all studies; a run's own seed never does.
HELD_OUT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Sorted indices into the data set; no image is in two parts."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(len(part).to_bytes(8, "little") + part.astype("<i8").tobytes())
        return digest.hexdigest()


def split_dataset(dataset: Dataset, settings: Settings, first: np.ndarray | None = None) -> Split:
    """The split of a run.

    Args:
        first: as of `first_of_equals`: a copy goes where the first of its kind goes, and makes
            a subset larger. None where it is enough to know the sizes of the parts.

    Raises:
        InputError: a class has too few images to be in all three parts.
    """
    first = np.arange(len(dataset)) if first is None else first
    originals = np.unique(first)
    parts = split(
        dataset.labels[originals],
        dataset.classes,
        seed=settings.seed,
        test_share=settings.test_share,
        validation_share=settings.validation_share,
        max_images=settings.max_images,
    )
    train, validation, test = (
        np.flatnonzero(np.isin(first, originals[part]))
        for part in (parts.train, parts.validation, parts.test)
    )
    return Split(train, validation, test)


def split(
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int,
    test_share: float = 0.25,
    validation_share: float = 0.25,
    max_images: int = 0,
) -> Split:
    """Stratified split into train, validation and test.

    Args:
        labels: class index of each image, shape (N,).
        classes: name of each class, for the error message.
        seed: fixes the train/validation split only.
        test_share: share of the images that no choice ever sees.
        validation_share: share of the rest; 0.25 is the source's train : validation 3 : 1.
        max_images: take a stratified subset of this size first; 0 takes all.

    Raises:
        InputError: a class has too few images to be in all three parts.
    """
    everything = np.arange(len(labels))
    try:
        if 0 < max_images < len(labels):
            everything, _ = _stratified(everything, labels, max_images, HELD_OUT_SEED)
        rest, test = _stratified(everything, labels, 1 - test_share, HELD_OUT_SEED)
        train, validation = _stratified(rest, labels, 1 - validation_share, seed)
    except ValueError as error:  # scikit-learn's refusal to stratify
        raise _too_few(labels[everything], classes, str(error)) from None
    for part in (train, validation, test):
        if len(np.unique(labels[part])) < len(classes):
            raise _too_few(labels[everything], classes, "it would be missing from one part")
    return Split(train, validation, test)


def _stratified(
    indices: np.ndarray, labels: np.ndarray, size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    first, second = train_test_split(
        indices, train_size=size, stratify=labels[indices], random_state=seed
    )
    return np.sort(first), np.sort(second)


def _too_few(labels: np.ndarray, classes: Sequence[str], reason: str) -> InputError:
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    return InputError(
        f"Class {classes[smallest]!r} has {counts[smallest]} images, too few for a split into "
        f"train, validation and test ({reason.rstrip('.')}). Add images or remove the class."
    )
