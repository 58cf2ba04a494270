"""Write a study for a data set that fits this machine, with a reason for every setting."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from effnet_core import files, paths
from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.data.duplicates import first_of_equals
from effnet_core.data.images import load_images
from effnet_core.data.splits import across_official_test
from effnet_core.errors import InputError
from effnet_core.study.design import Protocol, Study
from effnet_core.study.studies import load_study
from effnet_report.baseline.classical import FOLDS
from effnet_report.intake.look import Look
from effnet_report.sweep.plan import fixed_hours, plan, too_few
from effnet_report.sweep.sweep import automatic_jobs

# Image size, epochs, seeds (each holds out another fold; a single seed a quarter) and largest
# number of images, from the largest study to the smallest. The first one that fits is used.
LADDER = (
    *((224, 15, 4, 0), (160, 15, 4, 0), (160, 10, 3, 0), (128, 10, 3, 0), (128, 8, 2, 0)),
    *((128, 8, 2, 2000), (96, 8, 2, 1000), (96, 5, 3, 640), (96, 4, 3, 320), (64, 4, 3, 320)),
    *((96, 5, 1, 640), (96, 4, 1, 320), (64, 4, 1, 320)),
)
PROBE = 96  # pixels; the time of steps on smaller images would be underestimated
WHOLE = ((96, 4, 1, 0), (64, 4, 1, 0))
# Ratio of sides above which squashing an image to a square would be visible.
NEARLY_SQUARE = 1.15
FEW_STEPS = 100  # shorter epochs learn too little at the usual rate


@dataclass(frozen=True)
class Draft:
    """A study after it was written.

    Attributes:
        hours: upper bound, with one run per core in parallel.
        fits: whether the hours are within the limit.
    """

    path: Path
    study: Study
    hours: float
    fits: bool


def write(name: str, dataset: Dataset, look: Look, source: dict[str, str], hours: float) -> Draft:
    """Write `studies/NAME.yml` for inspected images.

    Args:
        source: the settings data_dir, labels and groups, as far as they are needed.
        hours: limit for the time of the study on this machine.

    Raises:
        InputError: a class is too small for any study.
    """
    base = _protocol(look, source)
    if tests_officially(dataset):
        base["official_test"] = True
    rung, needed = _fitting(name, base, dataset, look, hours)
    _check_different(_study(name, base, rung), dataset)
    text = _yaml(name, dataset=dataset, look=look, base=base, rung=rung, hours=hours)
    path = paths.STUDIES / f"{name}.yml"
    files.write(path, text.encode())
    return Draft(path, load_study(name), needed, needed <= hours)


def _check_different(design: Study, dataset: Dataset) -> None:
    """Make sure that enough images differ at the network's input size.

    Decodes all images, which the first run would do otherwise.
    """
    shown = design.protocol
    images = load_images(dataset, shown.image_size, shown.resize, shown.background)
    if lacking := too_few(design, dataset, first_of_equals(images)):
        raise InputError(
            f"{lacking[0]} At {shown.image_size} x {shown.image_size} pixels, images that differ "
            "in small details only are copies."
        )


def _protocol(look: Look, source: dict[str, str]) -> dict[str, Any]:
    """The settings that do not depend on the time limit."""
    sizes = look.images[look.images["error"] == ""]
    sides = sizes[["width", "height"]]
    stretch = float((sides.max(axis=1) / sides.min(axis=1)).quantile(0.9))
    protocol = {"dataset": "imagefolder", **source}
    protocol["resize"] = "squash" if stretch <= NEARLY_SQUARE else "pad"
    if sizes["transparent"].any():
        protocol["background"] = "white"
    return protocol


def _fitting(
    name: str, base: dict[str, Any], dataset: Dataset, look: Look, hours: float
) -> tuple[tuple[int, ...], float]:
    """The first rung of the ladder that fits, or else the fastest one, with its hours."""
    sides = look.images.loc[look.images["error"] == "", ["width", "height"]].min(axis=1)
    # scikit-learn warns where this raises an error or where nothing is wrong.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        possible = [
            rung
            for rung in _ladder(sides.median(), len(dataset))
            if _works(base, rung, dataset, look.first_of_equals)
        ]
    if not possible:
        raise _too_small(base, dataset, look.first_of_equals)
    probe = min(possible, key=lambda rung: (rung[0] != PROBE, _work(rung, dataset)))
    measured = plan(_study(name, base, probe))
    jobs = automatic_jobs(_study(name, base, probe))
    at_probe = sum(row.hours or 0 for row in measured.rows) * len(_seeds(probe)) / jobs
    weight = _work(probe, dataset)

    def needed(rung: tuple[int, ...]) -> float:
        fixed = fixed_hours(_study(name, base, rung), rung[3] or len(dataset)) / jobs
        return fixed + at_probe * _work(rung, dataset) / weight

    estimates = [(rung, needed(rung)) for rung in possible]
    fitting = [(rung, most) for rung, most in estimates if most <= hours]
    return fitting[0] if fitting else min(estimates, key=lambda pair: pair[1])


def _too_small(base: dict[str, Any], dataset: Dataset, first: np.ndarray) -> InputError:
    """The reason why even the smallest study of all images is impossible."""
    needed = round(FOLDS / 0.75**2) + 1
    counts = np.bincount(dataset.labels[np.unique(first)], minlength=len(dataset.classes))
    smallest = int(counts.argmin())
    if dataset.groups is not None or counts[smallest] >= needed:
        return InputError(too_few(_study("new", base, WHOLE[-1]), dataset, first)[0])
    total = int((dataset.labels == smallest).sum())
    copies = f" ({total} with copies)" if total > counts[smallest] else ""
    return InputError(
        f"Class {dataset.classes[smallest]!r} has {counts[smallest]} images{copies}. Training, "
        f"validation, testing and a {FOLDS}-fold comparison need about {needed}. Add images, or "
        "leave the class out."
    )


def _ladder(side: float, images: int) -> list[tuple[int, ...]]:
    """The different rungs that do not enlarge images with this short side (pixels) by much.

    The last rungs use all images, because a rare class may need them.
    """
    sizes = sorted({rung[0] for rung in LADDER})
    largest = max((size for size in sizes if size <= side * 1.25), default=sizes[0])
    rungs = [
        (min(size, largest), epochs, seeds, limit if limit < images else 0)
        for size, epochs, seeds, limit in (*LADDER, *WHOLE)
    ]
    return list(dict.fromkeys(rungs))


def _work(rung: tuple[int, ...], dataset: Dataset) -> float:
    """A number proportional to the time of a study: pixels x images x epochs x seeds."""
    size, epochs, seeds, limit = rung
    return float(size**2 * epochs * seeds * min(limit or len(dataset), len(dataset)))


def _seeds(rung: tuple[int, ...]) -> list[int]:
    return list(range(rung[2]))


def _settings(base: dict[str, Any], rung: tuple[int, ...]) -> dict[str, Any]:
    size, epochs, seeds, limit = rung
    settings = {**base, "image_size": size, "epochs": epochs}
    if limit:
        settings["max_images"] = limit
    if seeds > 1 and "official_test" not in base:
        settings["folds"] = seeds
    return settings


def tests_officially(dataset: Dataset) -> bool:
    """Whether the data set names a usable test set.

    The test set and the rest must have images of every class, and no group may be in both.
    """
    official = dataset.official_test
    if official is None or across_official_test(dataset):
        return False
    return all(
        len(np.unique(dataset.labels[part])) == len(dataset.classes)
        for part in (official, ~official)
    )


def _study(name: str, base: dict[str, Any], rung: tuple[int, ...]) -> Study:
    protocol = Protocol(**(_settings(base, rung) | _placed(base)))
    content = {"name": name, "title": name, "seeds": _seeds(rung), "protocol": protocol}
    return Study.model_validate(content)


def _works(
    base: dict[str, Any], rung: tuple[int, ...], dataset: Dataset, first: np.ndarray
) -> bool:
    """Whether every class has enough different images in every part, for every seed."""
    return not too_few(_study("new", base, rung), dataset, first)


def _yaml(
    name: str,
    *,
    dataset: Dataset,
    look: Look,
    base: dict[str, Any],
    rung: tuple[int, ...],
    hours: float,
) -> str:
    """The text of the study's file, with a reason beside each setting."""
    _, _, seeds, limit = rung
    used = min(limit or len(dataset), len(dataset))
    rest = 1 - 1 / seeds if seeds > 1 else 0.75
    if "official_test" in base and dataset.official_test is not None:
        rest = 1 - dataset.official_test.mean()
    steps = used * 0.75 * rest / 4
    sides = look.images.loc[look.images["error"] == "", ["width", "height"]].min(axis=1)
    reasons = {
        "dataset": "images of your own",
        "data_dir": "relative to this file; a folder that moves needs no new training",
        "labels": "paths and classes",
        "groups": "images of one object stay in one part of a split",
        "resize": "they are nearly square"
        if base["resize"] == "squash"
        else "they are not square: keep their shape, and fill up the short side",
        "background": "some are transparent: what shows through",
        "image_size": f"pixels of a side, of {sides.median():.0f} in the median image: what fits "
        f"into {hours:g} h",
        "max_images": f"of {len(dataset)}, as many of each class as its share: what fits into "
        f"{hours:g} h",
        "official_test": "their own test set is kept: the same for all seeds, never trained on",
        "folds": "each seed holds out another part, so that together they test every image",
        "backbone": "EfficientNet-Lite0, seven stages",
        "weights": "its ImageNet weights, from an installed package: no download",
        "learning_rate": "higher than the usual 1.0e-4: an epoch has few steps"
        if steps < FEW_STEPS
        else "of Adam, as in the committed studies",
        "batch_size": "as in the source",
        "epochs": f"at most: what fits into {hours:g} h",
    }
    settings = _settings(base, rung) | {
        "backbone": "tf_efficientnet_lite0",
        "weights": "packaged",
        "learning_rate": "3.0e-4" if steps < FEW_STEPS else "1.0e-4",
        "batch_size": 4,
    }
    lines = [
        f"# By `effnet new {name}`: {len(dataset)} images of {len(dataset.classes)} classes.",
        f"title: {json.dumps(name, ensure_ascii=False)}",
        f"seeds: {_seeds(rung)} # "
        + ("one: it is too small to decide much" if seeds == 1 else "trainings to compare"),
        "protocol:",
    ]
    for key in (key for key in reasons if key in settings):
        value = settings[key]
        plain = key in ("learning_rate", "backbone", "weights")
        shown = value if plain else json.dumps(value, ensure_ascii=False)
        lines.append(f"  {key}: {shown} # {reasons[key]}")
    return "\n".join(lines) + "\n"


def relative(path: Path) -> str:
    """A path in the form of the study's file."""
    place = path.expanduser().resolve()
    inside = place.is_relative_to(paths.ROOT)
    return os.path.relpath(place, paths.STUDIES) if inside else str(place)


def images_of(source: dict[str, str]) -> Dataset:
    """Load the data set of the study.

    Raises:
        InputError: see `folders`.
    """
    return load_dataset("imagefolder", **(source | _placed(source)))


def _placed(source: dict[str, Any]) -> dict[str, str]:
    """The data paths of `source`, from the folder of studies."""
    return {
        name: str(paths.STUDIES / source[name]) for name in ("data_dir", "labels") if name in source
    }
