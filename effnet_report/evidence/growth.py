"""What `effnet more` found: what more training images would give, as pages show it."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from effnet_core import files
from effnet_core.study.schema import Percent
from effnet_report.evidence import locations
from effnet_report.evidence.choice import best_run
from effnet_report.evidence.evidence import Evidence
from effnet_report.numbers import number

# Points; the contributions of images to balanced accuracy are of single precision.
ROUNDING = 1e-3


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
    sizes: list[Annotated[int, Field(ge=1)]]
    accuracy: list[Percent]
    more: int = Field(ge=1)
    gain: float = Field(ge=-100, le=100)
    low: float = Field(ge=-100)
    high: float = Field(le=100)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.sizes != sorted(set(self.sizes)) or len(self.sizes) != len(self.accuracy):
            raise ValueError("its sizes do not rise, or one of them has no accuracy")
        if self.more > self.sizes[-1] or self.low > self.high:
            raise ValueError("its forecast goes too far, or its interval has no inside")
        return self

    @property
    def sentence(self) -> str:
        """The forecast in words."""
        return (
            f"{self.more:,} more training images would change {self.metric} by about "
            f"{number(self.gain, sign=True)} points ({number(self.low)} to {number(self.high)})."
        )


def load(evidence: Evidence) -> Growth | None:
    """The forecast of a study; None if there is none, or one that is not of the best run."""
    try:
        growth = Growth.model_validate_json(files.read(locations.growth(evidence.reference)))
    except (OSError, ValueError):
        return None
    best = best_run(evidence.finished)
    if best is None:
        return None
    of_all = growth.run_id, growth.final_weights, growth.sizes[-1], growth.metric
    trained = best.facts.train_images
    expected = best.run_id, best.outcome.final_weights, trained, evidence.metric
    score = best.outcome.test.score(evidence.design.protocol.criterion)
    return growth if of_all == expected and abs(growth.accuracy[-1] - score) < ROUNDING else None
