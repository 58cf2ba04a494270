"""Split images into training, validation and test set, the same for all runs of a seed."""

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from effnet_core.data.datasets import Dataset
from effnet_core.errors import InputError
from effnet_core.study.design import Settings

# Fixes the subset, the test set and the folds of all studies, whatever the seed of a run.
HELD_OUT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Sorted indices into the data set; no image is in two parts."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def images(self) -> int:
        """Number of images in all three parts."""
        return len(self.train) + len(self.validation) + len(self.test)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(len(part).to_bytes(8, "little") + part.astype("<i8").tobytes())
        return digest.hexdigest()


def split_dataset(dataset: Dataset, settings: Settings, first: np.ndarray | None = None) -> Split:
    """Split the images of a run: first the test set, then training and validation from the rest.

    The test set is one of three: by default a share of the images, the same for all seeds; with
    `folds`, fold number seed mod `folds`, so that `folds` seeds together test every image once;
    with `official_test`, the test set that the data set names. All other parts are stratified
    and keep groups together.

    Args:
        first: the result of `first_of_equals`. A copy goes to the same part as its original and
            does not count towards `max_images`; copies of official test images are left out of
            the other parts. None ignores copies, which is enough to know the sizes of the parts.

    Raises:
        InputError: a class has too few images or groups for three parts; there are too few images
            for `train_images`; the data set names no test set, or splits a group between the test
            set and the rest; one group holds most of the images.
    """
    first = np.arange(len(dataset)) if first is None else first
    _check_official_groups(dataset, settings)
    dataset = _with_copies_in_one_group(dataset, first)
    _check_largest_group(dataset, settings)
    labels, indices = dataset.labels, np.unique(first)
    try:
        if 0 < settings.max_images < len(indices):
            indices, _ = _draw(indices, labels, settings.max_images, HELD_OUT_SEED)
        rest, test = _hold_out_test(dataset, indices, first, settings)
        train, validation = _hold_out_validation(dataset, rest, settings)
    except ValueError as error:  # scikit-learn's refusal to stratify
        raise _too_few(dataset, indices, str(error)) from None
    for part in (train, validation, test):
        _check_classes(dataset, indices, part, "it would be missing from one part")
    train, validation, test = (
        np.flatnonzero(np.isin(first, part)) for part in (train, validation, test)
    )
    if settings.official_test and dataset.official_test is not None:
        test = test[dataset.official_test[test]]
    return Split(train, validation, test)


def _check_official_groups(dataset: Dataset, settings: Settings) -> None:
    """Make sure that no group has images both inside and outside the official test set."""
    if settings.official_test and (divided := across_official_test(dataset)):
        raise InputError(
            f"official_test: {len(divided)} groups have images in and outside the test set, such "
            f"as the group of {dataset.names[divided[0]]!r}. A model would be tested on what it "
            "was trained on. Set official_test to false, or leave groups out."
        )


def _check_largest_group(dataset: Dataset, settings: Settings) -> None:
    """Make sure that no group has more than half of the images to split."""
    if dataset.groups is None:
        return
    official = dataset.official_test if settings.official_test else None
    groups = dataset.groups if official is None else dataset.groups[~official]
    members = np.bincount(groups)
    if members.max() * 2 > len(groups):
        name = dataset.names[int(np.flatnonzero(dataset.groups == members.argmax())[0])]
        raise InputError(
            f"groups: the group of {name!r} has {members.max()} of {len(groups)} images. A group "
            "stays in one part, so no split is possible. Check the groups, or leave groups out."
        )


def across_official_test(dataset: Dataset) -> list[int]:
    """First image of each group with images inside and outside the official test set."""
    if dataset.groups is None or dataset.official_test is None:
        return []
    tests = dataset.official_test
    divided = np.intersect1d(dataset.groups[tests], dataset.groups[~tests])
    return [int(np.flatnonzero(dataset.groups == group)[0]) for group in divided]


def _with_copies_in_one_group(dataset: Dataset, first: np.ndarray) -> Dataset:
    """The data set with groups merged where they share an image with equal pixels."""
    if dataset.groups is None:
        return dataset
    _, groups = np.unique(dataset.groups, return_inverse=True)
    links = coo_array((np.ones(len(first)), (groups, groups[first])), shape=(groups.max() + 1,) * 2)
    _, joined = connected_components(links, directed=False)
    return replace(dataset, groups=joined[groups])


def _hold_out_test(
    dataset: Dataset, indices: np.ndarray, first: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the other images and of the test images."""
    if settings.official_test:
        if dataset.official_test is None:
            raise InputError(
                f"official_test: data set {dataset.name} names no test set. Set official_test to "
                "false; a share of the images or a fold is then held out."
            )
        official = np.isin(indices, first[dataset.official_test])
        # A group with an image in the test set is left out of training.
        apart = ~official
        if dataset.groups is not None:
            apart &= ~np.isin(dataset.groups[indices], dataset.groups[indices[official]])
        return indices[apart], indices[official]
    if settings.folds:
        parts = _folds(dataset, indices, settings.folds, HELD_OUT_SEED)
        for part in parts:  # checks all folds, so that every seed gives the same message
            words = f"it would be missing from one of {settings.folds} folds"
            _check_classes(dataset, indices, part, words)
        test = parts[settings.seed % settings.folds]
        return np.setdiff1d(indices, test), test
    rest = int((1 - settings.test_share) * len(indices))
    return _split_off(dataset, indices, rest, HELD_OUT_SEED)


def _hold_out_validation(
    dataset: Dataset, rest: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and validation, from all non-test images or from a sample per seed."""
    share, train = settings.validation_share, settings.train_images
    wanted = train + round(train * share / (1 - share)) if train else len(rest)
    if wanted > len(rest):
        raise InputError(
            f"train_images = {train} and the validation set need {wanted} images, but only "
            f"{len(rest)} are outside the test set. Lower train_images."
        )
    if wanted < len(rest):
        rest, _ = _draw(rest, dataset.labels, wanted, settings.seed)
    return _split_off(dataset, rest, train or int((1 - share) * len(rest)), settings.seed)


def _split_off(
    dataset: Dataset, indices: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split images into `size` images and a held-out part, keeping groups together.

    With groups the sizes are approximate: the held-out part is a fraction of at most ten folds.
    """
    if dataset.groups is None:
        return _draw(indices, dataset.labels, size, seed)
    share = 1 - size / len(indices)
    fraction = Fraction(min(max(share, 0.1), 0.9)).limit_denominator(10)
    folds = _folds(dataset, indices, fraction.denominator, seed)
    held_out = np.concatenate(folds[: fraction.numerator])
    return np.setdiff1d(indices, held_out), np.sort(held_out)


def _draw(
    indices: np.ndarray, labels: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split images into a stratified sample of `size` images and the rest."""
    first, second = train_test_split(
        indices, train_size=size, stratify=labels[indices], random_state=seed
    )
    return np.sort(first), np.sort(second)


def _folds(dataset: Dataset, indices: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Split images into `count` stratified folds of about equal size, keeping groups together."""
    splitter = StratifiedKFold if dataset.groups is None else StratifiedGroupKFold
    groups = None if dataset.groups is None else dataset.groups[indices]
    cuts = splitter(count, shuffle=True, random_state=seed).split(
        indices, dataset.labels[indices], groups
    )
    return [indices[fold] for _, fold in cuts]


def _check_classes(dataset: Dataset, indices: np.ndarray, part: np.ndarray, reason: str) -> None:
    if len(np.unique(dataset.labels[part])) < len(dataset.classes):
        raise _too_few(dataset, indices, reason)


def _too_few(dataset: Dataset, indices: np.ndarray, reason: str) -> InputError:
    counts = np.bincount(dataset.labels[indices], minlength=len(dataset.classes))
    smallest = int(counts.argmin())
    if dataset.groups is not None:
        groups = [len(np.unique(dataset.groups[indices][dataset.labels[indices] == label]))
                  for label in range(len(counts))]  # fmt: skip
        fewest = int(np.argmin(groups))
        return InputError(
            f"Class {dataset.classes[fewest]!r} has images of {groups[fewest]} groups, too few for "
            "a split into train, validation and test that keeps groups whole "
            f"({reason.rstrip('.')}). Add groups, or leave groups out of the study."
        )
    total = int((dataset.labels == smallest).sum())
    aside = " (others are copies, or outside of the subset)" if counts[smallest] < total else ""
    return InputError(
        f"Class {dataset.classes[smallest]!r} has {counts[smallest]} images{aside}, too few for a "
        f"split into train, validation and test ({reason.rstrip('.')}). Add images or remove the "
        "class."
    )
