"""What the kept model says of new images."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from glob import glob
from itertools import takewhile
from pathlib import Path

import numpy as np

from effnet_core.data.images import decode
from effnet_core.data.layout.walk import (
    NOT_WRITTEN,
    Walk,
    can_be_written,
    is_folder,
    is_litter,
    sort,
    unreadable,
    walk,
)
from effnet_core.errors import InputError
from effnet_core.study.design import is_url
from effnet_report.deploy.explain import evidence_maps
from effnet_report.deploy.kept import Kept

TOGETHER = 32  # images that are in memory at a time
MOST_SHOWN = 3  # classes
WILD = re.compile(r"[*?[]")  # as in patterns


@dataclass(frozen=True)
class Prediction:
    """Of one image.

    Attributes:
        label: the class, by name; empty if the image cannot be read.
        probability: calibrated, of that class, 0..1.
        unlike: whether it is unlike the training images, see `calibration.RULE`.
        error: why it cannot be read, or empty.
    """

    image: str
    label: str = ""
    probability: float = 0.0
    unlike: bool = False
    error: str = ""


@dataclass(frozen=True, eq=False)
class Look:
    """A prediction, and what there is to show of it.

    Attributes:
        view: the image as the network sees it, shape (side, side, 3), uint8; None if it cannot be
            read.
        shares: probability by class, the most probable ones first.
        heat: where the image speaks for its class, if asked for, see `explain.evidence_maps`.
    """

    prediction: Prediction
    view: np.ndarray | None = None
    shares: dict[str, float] = field(default_factory=dict)
    heat: np.ndarray | None = None


def predict(
    kept: Kept, walked: Walk, explain: bool = False, never_miss: int | None = None
) -> Iterator[Look]:
    """The class of each image, and why some cannot be read; few are in memory at a time.

    Args:
        walked: as of `images_at`.
        explain: whether to compute where each image speaks for its class.
        never_miss: class that should rarely be missed, see `Calibration.chosen`.

    Raises:
        InputError: the model has to be calibrated first, and the images it was trained on are
            not here.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(walked.images), TOGETHER):
            part = walked.images[start : start + TOGETHER]
            read = pool.map(partial(_read, kept), part)
            yield from _some(kept, dict(zip(part, read, strict=True)), explain, never_miss)
    for path, why in walked.refused.items():
        yield Look(Prediction(str(path), error=f"{path} {why}"))


def _read(kept: Kept, path: Path) -> np.ndarray | InputError:
    settings = kept.settings
    try:
        return decode(path, settings.image_size, settings.resize, settings.background)
    except InputError as error:
        return error


def _some(
    kept: Kept, read: dict[Path, np.ndarray | InputError], explain: bool, never_miss: int | None
) -> Iterator[Look]:
    views = {path: view for path, view in read.items() if not isinstance(view, InputError)}
    seen: dict[Path, Look] = {}
    if views:
        images, indices = np.stack(list(views.values())), np.arange(len(views))
        answers = kept.ask(images, indices)
        probabilities = kept.calibration.probabilities(answers)
        unlike = kept.calibration.unlike(answers)
        chosen = kept.calibration.chosen(probabilities, never_miss)
        maps = evidence_maps(kept, images, indices, chosen) if explain else [None] * len(views)
        answered = zip(views, probabilities, chosen, unlike, maps, strict=True)
        for path, row, kind, far, heat in answered:
            first = np.argsort(-row, kind="stable")[:MOST_SHOWN]
            shares = {kept.classes[place]: float(row[place]) for place in first}
            prediction = Prediction(str(path), kept.classes[kind], float(row[kind]), bool(far))
            seen[path] = Look(prediction, views[path], shares, heat)
    for path, view in read.items():
        yield seen.get(path) or Look(Prediction(str(path), error=str(view)))


def images_at(places: list[str]) -> Walk:
    """The image files that paths, folders and patterns name, each once, and what else is there.

    Raises:
        InputError: one of them names nothing.
    """
    images: dict[Path, None] = {}
    refused: dict[Path, str] = {}
    left_out: dict[Path, None] = {}
    for place in places:
        walked = _at(place)
        if not (walked.images or walked.refused):
            if is_url(place):  # which may hold a secret
                raise InputError("A URL names no image here: download the images first.")
            raise InputError(f"{place!r} names no image: give a file, a folder or a pattern.")
        images |= dict.fromkeys(walked.images)
        refused |= walked.refused
        left_out |= dict.fromkeys(walked.left_out)
    return Walk(list(images), refused, list(left_out))


def _at(place: str) -> Walk:
    """What one path, folder or pattern names."""
    named = os.path.expanduser(place)  # noqa: PTH111  leaves what it does not know
    if not place:
        return Walk([], {}, [])  # not this folder
    if os.path.isfile(named):  # noqa: PTH113  a name may be too long for a file
        if can_be_written(place):
            return Walk([Path(named)], {}, [])
        return Walk([], {Path(named): NOT_WRITTEN}, [])
    if os.path.isdir(named):  # noqa: PTH112
        return walk(Path(named))
    return _matched(named)


def _matched(pattern: str) -> Walk:
    """What matches a pattern; folders count with everything in them."""
    top = Path(*takewhile(lambda part: not WILD.search(part), Path(pattern).parts))
    walked = Walk([], {}, [])
    folders: set[Path] = set()
    for path in map(Path, sorted(glob(pattern, recursive=True))):  # noqa: PTH207  takes any pattern
        if not folders.isdisjoint(path.parents):
            continue  # the walk through that folder lists it, or says why not
        if any(is_litter(Path(folder)) for folder in path.parts[len(top.parts) : -1]):
            walked.left_out.append(path)
            continue
        try:
            if path == top or is_folder(path, top):
                folders.add(path)
                below = walk(path, top)
                walked.images.extend(below.images)
                walked.refused.update(below.refused)
                walked.left_out.extend(below.left_out)
            else:
                sort(path, walked)
        except OSError as error:
            walked.refused[path] = unreadable(error)
    return walked
