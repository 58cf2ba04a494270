"""What the calibration of a study's best model left behind, as its pages show it."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NotNegative = Annotated[float, Field(ge=0)]
SURE = 0.9  # probability from which an answer counts as a sure one


class Example(BaseModel):
    """A test image, and what the model says of it.

    Attributes:
        probability: of the true class, calibrated, 0..1.
        heat: how much each place speaks for the predicted class, in rows; negative where it speaks
            against it.
    """

    image: str
    label: str
    predicted: str
    probability: float
    heat: list[list[float]]


class Threshold(BaseModel):
    """From which probability on an image counts as a class that should rarely be missed.

    Attributes:
        probability: of the class, calibrated, 0..1; the largest that finds enough of the
            validation images of the class, so that it raises the fewest false alarms.
        validation_images: of the class.
        found: test images of the class from this probability on.
        images: test images of the class.
        false_alarms: test images of other classes from this probability on.
        others: test images of other classes.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    probability: float = Field(ge=0, le=1)
    validation_images: int = Field(ge=0)
    found: int = Field(ge=0)
    images: int = Field(ge=1)
    false_alarms: int = Field(ge=0)
    others: int = Field(ge=1)

    @model_validator(mode="after")
    def _counts_no_more_than_there_are(self) -> Self:
        if self.found > self.images or self.false_alarms > self.others:
            raise ValueError("a threshold finds more images than there are")
        return self


class Certainty(BaseModel):
    """Test images to whose most probable class about the same calibrated probability is given.

    Attributes:
        probability: their mean, 0..1.
        right: how many of the images belong to that class.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    probability: float = Field(ge=0, le=1)
    right: int = Field(ge=0)
    images: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_right_at_most_always(self) -> Self:
        if self.right > self.images:
            raise ValueError("more answers are right than there are")
        return self


class Calibrated(BaseModel):
    """What `effnet predict` and `export` leave of the best run's calibration.

    Attributes:
        false_alarms: share of the test images called unlike the training images, 0..1.
        other: name of a data set of other images.
        detected: share of those images called unlike the training images, 0..1.
        loss: mean log loss on the test images, before and after.
        error: expected calibration error on them, likewise, points.
        thresholds: one per class, in their order; files of older versions have none.
        certainty: groups of test images in rising order of probability, ten per cent apart; files
            of older versions have none.
        hardest, typical: test images, the least and the most probable as labelled.
        features: sha256 of the file beside it, which holds those of the training images.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    final_weights: str
    temperature: float = Field(gt=0)
    threshold: float
    false_alarms: float = Field(ge=0, le=1)
    test_images: int = Field(ge=1)
    other: str
    other_images: int = Field(ge=1)
    detected: float = Field(ge=0, le=1)
    loss: tuple[NotNegative, NotNegative]
    error: tuple[NotNegative, NotNegative]
    thresholds: list[Threshold] = []
    certainty: list[Certainty] = []
    hardest: list[Example]
    typical: list[Example]
    features: str

    @model_validator(mode="after")
    def _counts_each_test_image_once(self) -> Self:
        groups = sum(group.images for group in self.certainty)
        classes = sum(threshold.images for threshold in self.thresholds)
        both = {one.images + one.others for one in self.thresholds}
        if {groups or self.test_images, classes or self.test_images, *both} != {self.test_images}:
            raise ValueError("its groups do not have as many images as the test set")
        return self

    @property
    def trust(self) -> str:
        """How often answers of high and of lower probability are right; empty if not measured."""
        parts = []
        for which, high in (("of at least", True), ("below", False)):
            groups = [group for group in self.certainty if (group.probability >= SURE) == high]
            right = sum(group.right for group in groups)
            if images := sum(group.images for group in groups):
                of = f"{right:,} of {images:,} answers with a probability"
                parts.append(f"{of} {which} {100 * SURE:.0f} % are right")
        return f"On the test set, {' and '.join(parts)}." if parts else ""
