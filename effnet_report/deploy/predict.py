"""What the kept model says of new images."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np

from effnet_core.data.formats import is_image
from effnet_core.data.images import decode
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
    kept: Kept, places: list[str], report: Callable[[int, int], None] = lambda *_: None
) -> list[Prediction]:
    """The class of each image that paths, folders and patterns name.

    Args:
        report: called with the number of images done and of all.

    Raises:
        InputError: a place names no image; or the model has to be calibrated first, and the
            images it was trained on are not here.
    """
    found = images_at(places)
    predictions: list[Prediction] = []
    for start in range(0, len(found), TOGETHER):
        predictions += _some(kept, found[start : start + TOGETHER])
        report(min(start + TOGETHER, len(found)), len(found))
    return predictions


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


def images_at(places: list[str]) -> list[Path]:
    """The image files that paths, folders and patterns name, each once.

    Raises:
        InputError: one of them names nothing.
    """
    found: dict[Path, None] = {}
    for place in places:
        named = os.path.expanduser(place)  # noqa: PTH111  leaves what it does not know
        path = Path(named)
        if not place:
            inside = []  # not this folder
        elif os.path.isfile(named):  # noqa: PTH113  a name may be too long for a file
            inside = [path]
        elif os.path.isdir(named):  # noqa: PTH112
            inside = sorted(p for p in path.rglob("*") if p.is_file() and is_image(p))
        else:
            matching = map(Path, glob(named, recursive=True))  # noqa: PTH207  takes any pattern
            inside = sorted(p for p in matching if p.is_file() and is_image(p))
        if not inside:
            raise InputError(f"{place!r} names no image: give a file, a folder or a pattern.")
        found |= dict.fromkeys(inside)
    return list(found)
