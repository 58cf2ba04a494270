"""What the calibration of a study's best model left behind, as its pages show it."""

from pydantic import BaseModel, ConfigDict, Field


class Example(BaseModel):
    """A test image, and what the model says of it.

    Attributes:
        probability: of the true class, calibrated, 0..1.
    """

    image: str
    label: str
    predicted: str
    probability: float


class Calibrated(BaseModel):
    """What `effnet predict` and `export` leave of the best run's calibration.

    Attributes:
        false_alarms: share of the test images called unlike the training images, 0..1.
        other: name of a data set of other images.
        detected: share of those images called unlike the training images, 0..1.
        loss: mean log loss on the test images, before and after.
        error: expected calibration error on them, likewise, points.
        hardest, typical: test images, the least and the most probable as labelled.
        arrays: sha256 of the file of arrays beside it.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    final_weights: str
    temperature: float = Field(gt=0)
    threshold: float
    false_alarms: float = Field(ge=0, le=1)
    test_images: int
    other: str
    other_images: int
    detected: float = Field(ge=0, le=1)
    loss: tuple[float, float]
    error: tuple[float, float]
    hardest: list[Example]
    typical: list[Example]
    arrays: str
