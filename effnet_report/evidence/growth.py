"""What `effnet more` found: what more training images would give, as pages show it."""

from pydantic import BaseModel, ConfigDict

from effnet_core import files
from effnet_report.evidence import locations
from effnet_report.evidence.choice import best_run
from effnet_report.evidence.evidence import Evidence
from effnet_report.numbers import number


class Growth(BaseModel):
    """What the best run of a study would gain from more training images.

    Attributes:
        run_id: of the best run.
        final_weights: of the best run, which says whether the forecast belongs to it.
        sizes: numbers of training images, rising.
        accuracy: by size, of the study's criterion on the same test images, per cent.
        more: additional training images of the forecast.
        gain: points that they would add; low and high end its 95 % interval.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    run_id: str
    final_weights: str
    metric: str
    sizes: list[int]
    accuracy: list[float]
    more: int
    gain: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """The forecast in words."""
        return (
            f"{self.more:,} more training images would change {self.metric} by about "
            f"{number(self.gain, sign=True)} points ({number(self.low)} to {number(self.high)})."
        )


def load(evidence: Evidence) -> Growth | None:
    """The forecast of a study; None if there is none, or one of another best run."""
    try:
        growth = Growth.model_validate_json(files.read(locations.growth(evidence.reference)))
    except (OSError, ValueError):
        return None
    best = best_run(evidence.finished)
    same = best is not None and best.outcome.final_weights == growth.final_weights
    return growth if same else None
