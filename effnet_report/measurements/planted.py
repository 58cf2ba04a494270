"""`results/audit.json`: planted label errors that an audit found, by `python -m bench.planted`."""

import json
from pathlib import Path

from pydantic import BaseModel

from effnet_core import paths


class Planted(BaseModel):
    """What an audit found of wrong labels that were planted in a copy of some images.

    Attributes:
        images: in the copy.
        planted: wrong labels among them.
        first: how many of the audit's most suspected labels are counted, at most all planted ones.
        precision: share of those that were planted, 0..1.
        one_run_precision: the same of the most confident errors of one run per image.
        suspected_recall: share of the planted labels that the audit calls suspected, 0..1.
    """

    images: int
    planted: int
    first: int
    precision: float
    one_run_precision: float
    suspected_recall: float


def path() -> Path:
    return paths.RESULTS / "audit.json"


def planted_in(dataset: str) -> Planted | None:
    """What an audit found in a copy of a data set; None if that was not measured."""
    try:
        return Planted.model_validate(json.loads(path().read_bytes())[dataset])
    except (OSError, ValueError, KeyError):
        return None
