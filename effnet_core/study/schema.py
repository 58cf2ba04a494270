"""What a record says: the schema of the one JSON file that a run leaves."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from effnet_core.study.design import Criterion, Settings, Strict

SCHEMA_VERSION: Final = 1
Percent = Annotated[float, Field(ge=0, le=100)]
Options = dict[str, int | float | str]  # of a classifier


class Metrics(Strict):
    """Quality on one part of the data. All but `loss` and `images` are per cent, 0..100."""

    images: int = Field(ge=0)
    loss: float
    accuracy: Percent
    precision: Percent = Field(description="macro average over the classes")
    recall: Percent = Field(description="macro average over the classes")
    f1: Percent = Field(description="macro average over the classes")

    def score(self, criterion: Criterion) -> float:
        """What a study chooses by, per cent; balanced accuracy is the macro recall."""
        return self.accuracy if criterion == "accuracy" else self.recall


class Epoch(Strict):
    epoch: int = Field(ge=1)
    learning_rate: float = Field(description="the rate this epoch was trained with")
    train_loss: float
    validation: Metrics


class Heat(Strict):
    """One learning rate's part in a race."""

    learning_rate: float
    validation_loss: float | None = Field(
        description="after the epochs of the race, the lowest wins; null if training diverged"
    )


class BestOfCycle(Strict):
    """The source's reading: each metric's best over all epochs, on the validation set."""

    accuracy: Percent
    precision: Percent
    recall: Percent


class Outcome(Strict):
    """What training led to. Equal to the bit whenever the same run is repeated."""

    history: list[Epoch]
    head_first: list[Epoch] = Field(default=[], description="of the head alone, before the others")
    race: list[Heat] = Field(
        default=[], description="of learning rates, in the order of the setting; empty without one"
    )
    best_epoch: int = Field(description="the one whose weights count")
    validation: Metrics
    test: Metrics
    best_of_cycle: BestOfCycle
    final_weights: str = Field(description="sha256 of the trained weights at the best epoch")


class Candidate(Strict):
    """One cell of the classical grid."""

    features: str
    classifier: str
    options: Options
    cv_accuracy: Percent
    cv_sd: float
    seconds: float


class ClassicalOutcome(Strict):
    """What the classical comparison led to; `candidates` shows the whole grid."""

    features: str
    classifier: str
    options: Options
    candidates: list[Candidate]
    validation: Metrics
    test: Metrics


class Stage(Strict):
    """A part of the backbone: the stem, a stage, or the final convolution."""

    name: str
    parameters: int
    flop_share: float = Field(description="share of the backbone's forward FLOP, 0..1")
    boundary_values: int = Field(description="numbers that leave it for one image")


class Facts(Strict):
    """What the run was about, in numbers that the report needs."""

    classes: list[str]
    train_images: int
    validation_images: int
    test_images: int
    trainable_parameters: int
    total_parameters: int
    stages: list[Stage]


class Fingerprints(Strict):
    """sha256 of everything that decides the outcome, the settings aside."""

    data: str = Field(description="names, labels and bytes of all images")
    split: str = Field(description="which image is in which part")
    weights: str = Field(description="the weights the run started from, head aside")
    code: str = Field(description="the source files that a run executes")


class Made(Strict):
    """Where and when: the only section that differs between two equal runs."""

    started: str = Field(description="UTC, ISO 8601; of its last start if it was resumed")
    finished: str
    seconds: dict[str, float] = Field(description="wall time by phase, and `total`; of all starts")
    cpu_seconds: dict[str, float] = Field(
        default={},
        description="CPU time likewise: whatever else the machine did; an epoch that runs "
        "share counts in each",
    )
    peak_memory_mb: float = Field(description="largest resident size of the process")
    commit: str = Field(description="git commit, with + when the tree had changes")
    versions: dict[str, str]
    hardware: dict[str, str]


class Record(Strict):
    """One finished run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["fine-tuned"] = "fine-tuned"
    run_id: str
    number: int = Field(ge=0, description="of its configuration in the design")
    settings: Settings
    facts: Facts
    outcome: Outcome
    fingerprints: Fingerprints
    predictions: str = Field(description="sha256 of the predictions file beside the record")
    made: Made

    @model_validator(mode="after")
    def _is_named_as_its_settings_say(self) -> Self:
        if (self.run_id, self.number) != (self.settings.run_id, self.settings.number):
            raise ValueError("run_id or number is not what the settings say")
        return self

    @property
    def validation_score(self) -> float:
        """What the study's criterion says of the chosen epoch, per cent."""
        return self.outcome.validation.score(self.settings.criterion)


ClassicalKind = Literal["baseline", "classical"]


class ClassicalRecord(Strict):
    """The baseline, or the best classical model: the same form, another kind of outcome."""

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
            raise ValueError("run_id is not what kind and seed say")
        return self


AnyRecord = Record | ClassicalRecord
