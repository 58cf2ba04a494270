"""Which configuration and which run of a study did best: one rule, wherever one is named.

The best configuration has the highest mean validation accuracy over its seeds, among those with the
most finished seeds; of equals it is the first in Table 1. Of its runs the best has the highest
validation accuracy; of equals it is the one with the lowest seed.
"""

from collections.abc import Iterable
from statistics import fmean

from effnet_core.study.records import Record

DIGITS = 9  # per cent; sums of the same accuracies in another order differ beyond these


def best_configuration(records: Iterable[Record]) -> list[Record]:
    """The runs of the best configuration, in the order given; none of no records."""
    runs: dict[int, list[Record]] = {}
    for record in records:
        runs.setdefault(record.number, []).append(record)
    return max(runs.values(), key=_merit, default=[])


def best_run(records: Iterable[Record]) -> Record | None:
    """The best run of the best configuration, if there is any."""
    return max(
        best_configuration(records),
        key=lambda run: (run.outcome.validation.accuracy, -run.settings.seed),
        default=None,
    )


def _merit(runs: list[Record]) -> tuple[int, float, int]:
    mean = fmean(run.outcome.validation.accuracy for run in runs)
    return len(runs), round(mean, DIGITS), -runs[0].number
