"""The sizes that a study can have, and which of them answers most in the hours given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from effnet_report.intake.network import ENLARGED, Network

SEEDS = (10, 9, 8, 7, 6, 5, 4, 3, 2)  # folds: each seed holds out another one
SIZES = (384, 320, 288, 256, 224, 160, 128, 96, 64)  # pixels
FEWER_IMAGES = (2000, 1000, 640, 320)
# Epochs as in the published studies, more where a run would have fewer steps than this, or few
# where nothing else fits.
EPOCHS, MOST_EPOCHS, FEW_EPOCHS, STEPS = 8, 24, 5, 1000
BATCH, TRAINING = 4, 0.6  # share of the images that a run trains on, at five folds
# Larger images and more depths may widen the interval by this factor.
WIDER = 1.25
RULE = (
    "Among the studies that fit into the hours and whose interval is at most "
    f"{100 * (WIDER - 1):.0f} % wider than the narrowest one, the command prefers the usual number "
    "of epochs, then the largest images, then the most depths."
)


@dataclass(frozen=True)
class Option:
    """A size of a study.

    Attributes:
        depths: numbers of frozen stages that it compares.
        seeds: each holds out another fold; a single one holds out a quarter of the images.
        image_size: pixels of a side.
        images: 0 for all.
        half_width: expected half of the interval of a depth minus none, points; infinite if a
            single seed gives no interval.
        hours: expected time on this machine.
    """

    depths: tuple[int, ...]
    seeds: int
    image_size: int
    epochs: int
    images: int
    half_width: float = math.inf
    hours: float = math.inf


def depths(stages: int) -> list[tuple[int, ...]]:
    """Numbers of frozen stages to compare, the most first.

    Args:
        stages: of the network; the last one always trains.
    """
    middle, deepest = stages // 2, stages - 1
    return [tuple(range(stages)), (0, middle, deepest - 1, deepest), (0, middle, deepest)]


def tiers(side: float, images: int, network: Network) -> list[list[Option]]:
    """All options: those with all images first, then with fewer, and at last with one seed.

    Args:
        side: short side of the images, pixels; they are not enlarged by much.
        images: number of images.
    """
    largest = min(side * ENLARGED, network.side)
    sizes, compared = [size for size in SIZES if size <= largest], depths(network.stages)
    sizes = sizes or [SIZES[-1]]
    usual = usual_epochs(images)
    fewer = [limit for limit in FEWER_IMAGES if limit < images]
    several = [(0, (usual, FEW_EPOCHS)), *((limit, (FEW_EPOCHS,)) for limit in fewer)]
    return [
        *(_options(compared, SEEDS, sizes, epochs, limit) for limit, epochs in several),
        *(_options(compared[-1:], (1,), sizes, (FEW_EPOCHS,), limit) for limit in (0, *fewer)),
    ]


def usual_epochs(images: int) -> int:
    """Epochs for a number of images: more where an epoch has few steps."""
    steps = max(1, TRAINING * images / BATCH)
    return min(MOST_EPOCHS, max(EPOCHS, math.ceil(STEPS / steps)))


def _options(
    depths: Sequence[tuple[int, ...]],
    seeds: Sequence[int],
    sizes: Sequence[int],
    epochs: Sequence[int],
    images: int,
) -> list[Option]:
    return [
        Option(compared, many, size, trained, images)
        for compared in depths
        for many in seeds
        for size in sizes
        for trained in epochs
    ]


def best(weighed: Sequence[Sequence[Option]], hours: float) -> Option:
    """The option that `RULE` takes in the first tier that has one for these hours.

    If nothing fits, the fastest one.
    """
    for tier in weighed:
        fitting = [option for option in tier if option.hours <= hours]
        if fitting:
            limit = WIDER * min(option.half_width for option in fitting)
            return max(
                (option for option in fitting if option.half_width <= limit),
                key=lambda o: (o.epochs, o.image_size, len(o.depths), -o.half_width),
            )
    return min((option for tier in weighed for option in tier), key=lambda option: option.hours)
