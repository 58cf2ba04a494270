"""The choice of the best configuration and the best run of a study.

The best configuration has the highest mean validation score over its seeds, among those with the
most finished seeds; among equals it is the first one in Table 1. Its best run has the highest
validation score; among equals it has the lowest seed. The score is the study's criterion.
"""

from collections.abc import Iterable
from statistics import fmean

from effnet_core.study.schema import Record
from effnet_report.evidence import loader

DIGITS = 9  # per cent; the order of a sum changes later digits


def best_configuration(records: Iterable[Record]) -> list[Record]:
    """The runs of the best configuration, in the given order; empty without records."""
    runs: dict[int, list[Record]] = {}
    for record in records:
        runs.setdefault(record.number, []).append(record)
    return max(runs.values(), key=_merit, default=[])


def best_run(records: Iterable[Record]) -> Record | None:
    """The best run of the best configuration; None without records."""
    return max(
        best_configuration(records),
        key=lambda run: (run.validation_score, -run.settings.seed),
        default=None,
    )


def _merit(runs: list[Record]) -> tuple[int, float, int]:
    mean = fmean(run.validation_score for run in runs)
    return len(runs), round(mean, DIGITS), -runs[0].number


def of_study(study: str) -> Record | None:
    """The best run of a study so far, among its valid records; None without any.

    Raises:
        InputError: there is no such study.
    """
    believed = loader.load(study).believed.values()
    return best_run(record for record in believed if isinstance(record, Record))
