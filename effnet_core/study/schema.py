"""Schema of a record, the JSON file that a run writes."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from effnet_core.study.design import Criterion, Settings, Strict

SCHEMA_VERSION: Final = 1
Percent = Annotated[float, Field(ge=0, le=100)]
Options = dict[str, int | float | str]  # of a classifier


class Metrics(Strict):
    """Quality on one part of the data; in per cent (0..100) except for `loss` and `images`."""

    images: int = Field(ge=0)
    loss: float
    accuracy: Percent
    precision: Percent = Field(description="macro average over the classes")
    recall: Percent = Field(description="macro average over the classes")
    f1: Percent = Field(description="macro average over the classes")

    def score(self, criterion: Criterion) -> float:
        """The measure that a study selects by, per cent; balanced accuracy is the macro recall."""
        return self.accuracy if criterion == "accuracy" else self.recall


class Epoch(Strict):
    epoch: int = Field(ge=1)
    learning_rate: float = Field(description="the rate this epoch was trained with")
    train_loss: float
    validation: Metrics


class Heat(Strict):
    """The result of one learning rate in a race."""

    learning_rate: float
    validation_loss: float | None = Field(
        description="after the epochs of the race; the lowest wins; null if training diverged"
    )


class BestOfCycle(Strict):
    """The best value of each metric over all epochs, on the validation set, as in the source."""

    accuracy: Percent
    precision: Percent
    recall: Percent


class Outcome(Strict):
    """The outcome of training; a repetition of the run gives the same bits."""

    history: list[Epoch]
    head_first: list[Epoch] = Field(default=[], description="epochs of the head alone")
    race: list[Heat] = Field(
        default=[], description="heats of the learning rates, in their order; empty without a race"
    )
    best_epoch: int = Field(description="number of the epoch whose weights are used")
    validation: Metrics
    test: Metrics
    best_of_cycle: BestOfCycle
    final_weights: str = Field(description="sha256 of the trained weights at the best epoch")


class ClassicalModel(Strict):
    """A classifier on a description of the images."""

    features: str
    classifier: str
    options: Options

    @property
    def on_learned_features(self) -> bool:
        """Whether a trained network computes the features; else they are hand-made."""
        return self.features == "frozen network"


class Candidate(ClassicalModel):
    """One cell of the classical grid."""

    cv_accuracy: Percent
    cv_sd: float
    seconds: float


class Chosen(ClassicalModel):
    """A classical model that was chosen by cross-validation, and how good it is."""

    validation: Metrics
    test: Metrics


class ClassicalOutcome(Chosen):
    """The best model of the classical comparison; `candidates` lists the whole grid."""

    candidates: list[Candidate]
    on_other_features: Chosen | None = Field(
        None,
        description="the best model on hand-made features if the best of all works on those of "
        "the frozen network, and the other way round; null in older records",
    )


class Stage(Strict):
    """A part of the backbone: the stem, a stage, or the final convolution."""

    name: str
    parameters: int
    flop_share: float = Field(description="share of the backbone's forward FLOP, 0..1")
    boundary_values: int = Field(description="size of its output for one image, in numbers")


class Facts(Strict):
    """Numbers about the data and the model of a run."""

    classes: list[str]
    train_images: int = Field(ge=0)
    validation_images: int = Field(ge=0)
    test_images: int = Field(ge=0)
    trainable_parameters: int = Field(ge=0)
    total_parameters: int = Field(ge=0)
    stages: list[Stage]


class Fingerprints(Strict):
    """sha256 of everything that decides the outcome, except the settings."""

    data: str = Field(description="names, labels and bytes of all images")
    split: str = Field(description="indices of the images in each part")
    weights: str = Field(description="weights before training, without the head")
    code: str = Field(description="the code that decides the outcome, see `study/code.py`")


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_moment)]  # ISO 8601
Seconds = dict[str, Annotated[float, Field(ge=0)]]


class Made(Strict):
    """Place and time of the run: the only section that differs between equal runs."""

    started: Moment = Field(description="UTC, ISO 8601; the last start if the run was resumed")
    finished: Moment
    seconds: Seconds = Field(description="wall time per phase and `total`, of all starts")
    cpu_seconds: Seconds = Field(
        default={},
        description="CPU time per phase, and `total`; an epoch that several runs share counts in "
        "each of them",
    )
    peak_memory_mb: float = Field(ge=0, description="largest resident size during the run")
    commit: str = Field(description="git commit, with + when the tree had changes")
    versions: dict[str, str]
    hardware: dict[str, str]

    @property
    def spent(self) -> dict[str, float]:
        """CPU time per phase, and `total`; of older records, which lack it, wall time."""
        return self.cpu_seconds or self.seconds


class Record(Strict):
    """One finished run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["fine-tuned"] = "fine-tuned"
    run_id: str
    number: int = Field(ge=0, description="number of the configuration in the design")
    settings: Settings
    facts: Facts
    outcome: Outcome
    fingerprints: Fingerprints
    predictions: str = Field(description="sha256 of the predictions file beside the record")
    made: Made

    @model_validator(mode="after")
    def _is_named_as_its_settings_say(self) -> Self:
        if (self.run_id, self.number) != (self.settings.run_id, self.settings.number):
            raise ValueError("run_id or number does not fit the settings")
        return self

    @property
    def validation_score(self) -> float:
        """Validation score of the chosen epoch by the study's criterion, per cent."""
        return self.outcome.validation.score(self.settings.criterion)


ClassicalKind = Literal["baseline", "classical"]


class ClassicalRecord(Strict):
    """The record of the baseline or of the best classical model."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: ClassicalKind
    run_id: str
    settings: Settings
    facts: Facts
    outcome: ClassicalOutcome
    fingerprints: Fingerprints
    predictions: str
    made: Made

    @model_validator(mode="after")
    def _is_named_as_its_seed_says(self) -> Self:
        if self.run_id != f"{self.kind}-seed{self.settings.seed}":
            raise ValueError("run_id does not fit kind and seed")
        return self


AnyRecord = Record | ClassicalRecord
