"""Estimate how long the tasks of a study take, one after another or in parallel."""

import math
from collections.abc import Iterable
from heapq import heapreplace

from effnet_core.study.design import Protocol

# CPU seconds on an AMD EPYC, from published records. RUN is a run without its training (its kernel,
# its model, its record). The others are of the classical comparison: the descriptions per pixel of
# every image, and the classifiers per training image, per training image and class (boosting), and
# per pair of training images (support vectors).
RUN = 3.0
PIXEL, TRAINING_IMAGE, IMAGE_OF_CLASS, PAIR = 0.7e-6, 0.08, 0.012, 1.5e-5


def classical_hours(protocol: Protocol, train: int, images: int, classes: int) -> float:
    """Hours of the classical comparison of one seed.

    Args:
        train: training images.
        images: all images of a run.
    """
    fitting = train * (TRAINING_IMAGE + IMAGE_OF_CLASS * classes + PAIR * train)
    return (PIXEL * protocol.image_size**2 * images + fitting) / 3600


def task_hours(trainings: Iterable[float | None], classical: float, seeds: int) -> list[float]:
    """Hours of each fine-tuned run and each classical comparison of a study.

    Args:
        trainings: hours of the trainings of one seed; None if a run does not fit in memory.
        classical: hours of the classical comparison of one seed.

    Returns:
        Infinite for runs that do not fit.
    """
    runs = [RUN / 3600 + (math.inf if hours is None else hours) for hours in trainings]
    return [*runs, classical] * seeds


def in_parallel(hours: Iterable[float], jobs: int) -> float:
    """Hours until all tasks have ended, if the longest ones start first."""
    ends = [0.0] * jobs
    for needed in sorted(hours, reverse=True):
        heapreplace(ends, ends[0] + needed)
    return max(ends)
