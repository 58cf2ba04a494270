"""The learning rates that a run's schedule gives its epochs, computed again without PyTorch."""

import math
from collections.abc import Iterator, Sequence

from effnet_core.study.design import Settings

# Defaults of PyTorch's ReduceLROnPlateau: an improvement is larger than this share of the loss,
# and a reduction that is smaller than the second number is not made.
IMPROVEMENT = 1e-4
SMALLEST_CHANGE = 1e-8


def rates_due(settings: Settings, first: float, losses: Sequence[float]) -> list[float]:
    """The rate of each epoch.

    Args:
        first: the rate of the first epoch.
        losses: validation loss of each epoch.
    """
    if settings.scheduler == "plateau":
        return list(_on_plateaus(settings, first, losses))
    turns = [math.pi * epoch / settings.epochs for epoch in range(len(losses))]
    return [first * (1 + math.cos(turn)) / 2 for turn in turns]


def _on_plateaus(settings: Settings, rate: float, losses: Sequence[float]) -> Iterator[float]:
    lowest, without = math.inf, 0
    for loss in losses:
        yield rate
        improved = loss < lowest * (1 - IMPROVEMENT)
        lowest, without = (loss, 0) if improved else (lowest, without + 1)
        if without > settings.plateau_patience:
            without, reduced = 0, rate * settings.plateau_factor
            rate = reduced if rate - reduced > SMALLEST_CHANGE else rate
