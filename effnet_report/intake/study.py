"""Write a study for a data set that fits this machine, with a reason for every setting."""

import json
import math
import os
from collections.abc import Callable
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
from effnet_core.study.design import Study
from effnet_core.study.studies import load_study
from effnet_report.inference import forecast
from effnet_report.intake.look import Look
from effnet_report.intake.network import Network, networks
from effnet_report.intake.options import BATCH, EPOCHS, Option, best
from effnet_report.intake.weigh import Material, Weighing, placed
from effnet_report.sweep.plan import too_few

# Ratio of sides above which squashing an image to a square would be visible.
NEARLY_SQUARE = 1.15
# Ratio of class sizes above which accuracy would mostly describe the largest class.
UNEVEN = 2
# Share of the size that a network was pretrained on; on smaller images a smaller one is as good.
LARGE = 0.6
ALTERNATIVES = (0.25, 1.0, 4.0, 12.0)  # hours


@dataclass(frozen=True)
class Wishes:
    """What a study is to answer, and with what.

    Attributes:
        hours: limit for the time of the study on this machine.
        compared: settings to compare beside the depth, see `weigh.factors`.
        backbone, device: None for those that suit the images, the machine and the hours.
    """

    hours: float
    compared: dict[str, list[Any]]
    backbone: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Draft:
    """A study after it was written.

    Attributes:
        chosen: its size.
        fits: whether its hours are within the limit.
        alternatives: what would be chosen, by hours.
        like: published studies whose variance the expected intervals take.
        why: the reason for the network.
    """

    path: Path
    study: Study
    chosen: Option
    fits: bool
    alternatives: dict[float, Option]
    like: list[str]
    why: str


def write(
    name: str,
    dataset: Dataset,
    look: Look,
    source: dict[str, str],
    wishes: Wishes,
    *,
    made: dict[Path, bytes],
) -> Draft:
    """Write `studies/NAME.yml` for inspected images.

    Args:
        made: files that an error has to remove; the study's is added.
        source: the settings data_dir, labels and groups, as far as they are needed.

    Raises:
        InputError: a class is too small for any study, the file exists by now, or a network or
            device that is wanted is not there.
    """
    base = _protocol(look, source)
    if "norm_statistics" not in wishes.compared:
        base["norm_statistics"] = forecast.RECIPE["norm_statistics"]
    if tests_officially(dataset):
        base["official_test"] = True
    if uneven(dataset):
        base["criterion"] = "balanced_accuracy"
    compared, hours = wishes.compared, wishes.hours
    components, like = forecast.published(compared, forecast.RECIPE)
    limits = sorted({*ALTERNATIVES, hours})

    def weigh(network: Network) -> Weighed:
        material = Material(dataset, look, base, compared, network)
        return material, Weighing(material, components).tiers(limits[0])

    material, weighed = _fitting(
        list(networks(wishes.backbone, wishes.device, look.side)), weigh, hours
    )
    chosen = best(weighed, hours)
    if math.isinf(chosen.hours):
        raise InputError(
            f"{material.network.backbone} does not fit into the free memory of this machine, even "
            "with the smallest images. Close other programs, or choose a smaller --backbone."
        )
    _check_different(material.study(name, chosen), dataset)
    path = paths.STUDIES / f"{name}.yml"
    create(path, _yaml(name, material, chosen).encode(), made)
    alternatives = {limit: best(weighed, limit) for limit in limits}
    why, fits = material.network.why, chosen.hours <= hours
    return Draft(path, load_study(name), chosen, fits, alternatives, like, why)


def create(path: Path, data: bytes, made: dict[Path, bytes]) -> None:
    """Write a new file, and note it in `made` even if Ctrl-C comes right after it was written."""
    made[path] = data
    try:
        files.create(path, data)
    except InputError:  # it exists by now, and is another program's
        del made[path]
        raise


Weighed = tuple[Material, list[list[Option]]]


def _fitting(
    candidates: list[Network], weigh: Callable[[Network], Weighed], hours: float
) -> Weighed:
    """The first network for whose image size, all images and seeds the hours suffice, or the last.

    Where the hub is out of reach, the last one is taken at once.
    """
    *larger, last = candidates
    for network in larger:
        material, weighed = weigh(network)
        chosen = best(weighed, hours)
        large = chosen.image_size >= LARGE * network.side
        if chosen.hours <= hours and not chosen.images and chosen.seeds > 1 and large:
            try:
                network.fetch()
            except InputError:
                break
            return material, weighed
    last.fetch()
    return weigh(last)


def uneven(dataset: Dataset) -> bool:
    """Whether the largest class has more than twice the images of the smallest."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    return bool(counts.max() > UNEVEN * counts.min())


def _check_different(design: Study, dataset: Dataset) -> None:
    """Make sure that enough images differ at the network's input size.

    Decodes all images, which the first run would do otherwise.
    """
    shown = design.protocol
    images = load_images(dataset, shown.image_size, shown.resize, shown.background)
    first = first_of_equals(images)
    if lacking := too_few(design, dataset, first):
        copies = (
            f" At {shown.image_size} x {shown.image_size} pixels, images that differ in small "
            "details only are copies."
        )
        has_copies = (first != np.arange(len(first))).any()
        raise InputError(lacking + copies if has_copies else lacking)


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


def _yaml(name: str, material: Material, chosen: Option) -> str:
    """The text of the study's file, with a reason beside each setting."""
    dataset, base = material.dataset, material.base
    reasons = {
        "dataset": "images of your own",
        "data_dir": "a relative path starts at this file; moving the folder needs no new training",
        "labels": "paths and classes",
        "groups": "images of one object stay in one part of a split",
        "resize": "they are nearly square"
        if base["resize"] == "squash"
        else "they are not square: keep their shape, and fill up the short side",
        "background": "some are transparent: what shows through",
        "image_size": f"pixels of a side, of {material.look.side:.0f} in the median image: the "
        "largest for which the hours suffice",
        "max_images": f"of {len(dataset)}, in proportion to the classes: what fits into the hours",
        "official_test": "their own test set is kept: the same for all seeds, never trained on",
        "folds": "each seed holds out another part, so that together they test every image",
        "criterion": f"a class has more than {UNEVEN} times as many images as another; every "
        "class counts the same",
        "backbone": material.network.why,
        "weights": WEIGHTS[material.network.weights],
        "device": "the GPU of this machine",
        "norm_statistics": "those of pretraining: four images estimate them badly",
        "learning_rate": "each run tries all for an epoch, and continues with the best",
        "batch_size": "as in the source",
        "epochs": _epochs_reason(chosen.epochs),
        "early_stop_patience": "all epochs, so that the cosine schedule reaches its end",
    }
    settings = material.settings(chosen) | {"batch_size": BATCH}
    lines = [
        f"# By `effnet new {name}`: {len(dataset)} images of {len(dataset.classes)} classes.",
        f"title: {json.dumps(name, ensure_ascii=False)}",
        f"seeds: {_shown(list(range(chosen.seeds)))} # {_seeds_reason(chosen)}",
        "factors:",
        *(
            f"  {factor}: {_shown(levels)} # {FACTORS[factor] if len(levels) > 1 else FIXED}"
            for factor, levels in material.factors(chosen).items()
        ),
        "protocol:",
        *(
            f"  {key}: {_shown(settings[key])} # {reason}"
            for key, reason in reasons.items()
            if key in settings
        ),
    ]
    return "\n".join(lines) + "\n"


WEIGHTS = {
    "packaged": "its ImageNet weights, from an installed package: no download",
    "hub": "its pretrained weights, which timm fetches once from the hub",
}
FIXED = "not compared: the study's hours go into images and seeds"
FACTORS = {
    "freeze": "frozen stages: does freezing help, and how many stages",
    "norm_statistics": "of each batch, or those of pretraining",
    "augment": "training images as they are, or also mirrored",
    "head": "one linear layer, or two with dropout",
    "scheduler": "how the learning rate falls",
}


def _epochs_reason(epochs: int) -> str:
    if epochs == EPOCHS:
        return "as in the published studies"
    more = epochs > EPOCHS
    return "more than usual: an epoch has few steps" if more else "few: what fits into the hours"


def _seeds_reason(chosen: Option) -> str:
    if chosen.seeds == 1:
        return "one training per configuration: without an interval"
    return "trainings per configuration, each with another split"


def _shown(value: Any) -> str:
    """A value in YAML, which reads numbers such as 3e-05 as text."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float):
        return f"{value:.1e}".replace("e-0", "e-")
    return json.dumps(value, ensure_ascii=False)


def relative(path: Path) -> str:
    """A path in the form of the study's file."""
    place = Path(os.path.expanduser(path)).resolve()  # noqa: PTH111  a user may not exist
    inside = place.is_relative_to(paths.ROOT)
    return os.path.relpath(place, paths.STUDIES) if inside else str(place)


def images_of(source: dict[str, str]) -> Dataset:
    """Load the data set of the study.

    Raises:
        InputError: see `datasets.imagefolder`.
    """
    return load_dataset("imagefolder", **(source | placed(source)))
