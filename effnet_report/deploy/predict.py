"""What the kept model says of new images."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np

from effnet_core.data.images import decode
from effnet_core.data.walk import Walk, sort, walk
from effnet_core.errors import InputError
from effnet_report.deploy.kept import Kept

TOGETHER = 32  # images between two looks at the progress


@dataclass(frozen=True)
class Prediction:
    """Of one image.

    Attributes:
        label: the class, by name; empty if the image cannot be read.
        probability: calibrated, of that class, 0..1.
        unlike: whether it is unlike the training images, see `kept.RULE`.
        error: why it cannot be read, or empty.
    """

    image: str
    label: str = ""
    probability: float = 0.0
    unlike: bool = False
    error: str = ""


def predict(
    kept: Kept, found: Walk, report: Callable[[int, int], None] = lambda *_: None
) -> list[Prediction]:
    """The class of each image, and why some cannot be read.

    Args:
        found: as of `images_at`.
        report: called with the number of images done and of all.

    Raises:
        InputError: the model has to be calibrated first, and the images it was trained on are
            not here.
    """
    images = found.images
    predictions: list[Prediction] = []
    for start in range(0, len(images), TOGETHER):
        predictions += _some(kept, images[start : start + TOGETHER])
        report(min(start + TOGETHER, len(images)), len(images))
    refused = found.refused.items()
    return predictions + [Prediction(str(path), error=f"{path} {why}") for path, why in refused]


def _some(kept: Kept, found: list[Path]) -> list[Prediction]:
    settings, views, errors = kept.settings, {}, {}
    for path in found:
        try:
            views[path] = decode(path, settings.image_size, settings.resize, settings.background)
        except InputError as error:
            errors[path] = Prediction(str(path), error=str(error))
    said: dict[Path, Prediction] = {}
    if views:
        answers = kept.ask(np.stack(list(views.values())), np.arange(len(views)))
        probabilities = kept.calibration.probabilities(answers)
        unlike = kept.calibration.unlike(answers)
        for path, row, far in zip(views, probabilities, unlike, strict=True):
            label = kept.classes[int(row.argmax())]
            said[path] = Prediction(str(path), label, float(row.max()), bool(far))
    return [(said | errors)[path] for path in found]


def images_at(places: list[str]) -> Walk:
    """The image files that paths, folders and patterns name, each once, and what else is there.

    Raises:
        InputError: one of them names nothing.
    """
    images: dict[Path, None] = {}
    refused: dict[Path, str] = {}
    left_out: dict[Path, None] = {}
    for place in places:
        found = _at(place)
        if not (found.images or found.refused):
            raise InputError(f"{place!r} names no image: give a file, a folder or a pattern.")
        images |= dict.fromkeys(found.images)
        refused |= found.refused
        left_out |= dict.fromkeys(found.left_out)
    return Walk(list(images), refused, list(left_out))


def _at(place: str) -> Walk:
    """What one path, folder or pattern names."""
    named = os.path.expanduser(place)  # noqa: PTH111  leaves what it does not know
    if not place:
        return Walk([], {}, [])  # not this folder
    if os.path.isfile(named):  # noqa: PTH113  a name may be too long for a file
        return Walk([Path(named)], {}, [])
    if os.path.isdir(named):  # noqa: PTH112
        return walk(Path(named))
    found = Walk([], {}, [])
    for path in map(Path, sorted(glob(named, recursive=True))):  # noqa: PTH207  takes any pattern
        if not path.is_dir():
            sort(path, found)
    return found
