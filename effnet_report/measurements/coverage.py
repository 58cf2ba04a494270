"""`results/simulation.json`: how often intervals cover the truth, by `python -m bench.coverage`."""

from contextlib import suppress
from typing import ClassVar, Self

from pydantic import BaseModel

from effnet_core.errors import InputError
from effnet_report.measurements.file import File


class CoverageCase(BaseModel):
    """Simulated studies of one kind and size.

    Attributes:
        covered: by claim, share of the studies whose interval covers the truth, per cent.
    """

    kind: str
    seeds: int
    folds: bool
    covered: dict[str, float]


class Coverage(File):
    """How often intervals cover the truth in simulated studies.

    Attributes:
        study: whose runs the model of per-image correctness is fitted to.
        replicates: studies in each case.
    """

    file: ClassVar[str] = "simulation.json"
    study: str
    replicates: int
    cases: list[CoverageCase]

    @classmethod
    def load(cls) -> Self | None:
        """Read the file; None if it does not exist or an earlier version wrote it."""
        with suppress(InputError):
            return super().load()
        return None
