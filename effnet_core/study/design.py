"""The design of a study: protocol, factors and seeds, read from one YAML file.

`Settings` holds everything that decides the outcome of one run: the protocol of a study, one
configuration (a level of each factor) and one seed.
"""

import hashlib
import math
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from effnet_core.processor import Instructions

FREEZE = (0, 1, 2, 3, 4, 5, 6)
HEADS = ("none", "mlp")
SCHEDULERS = ("plateau", "cosine")
# Factors that a study compares by default: those of the source, in the order of its Table 1.
SOURCE_FACTORS: dict[str, list[Any]] = {
    "freeze": [*FREEZE],
    "head": [*HEADS],
    "scheduler": [*SCHEDULERS],
}

Head = Literal["none", "mlp"]
Scheduler = Literal["plateau", "cosine"]
Resize = Literal["squash", "pad", "crop"]
Criterion = Literal["accuracy", "balanced_accuracy"]
Background = Literal["white", "black"]
MOST_RUNS = 10_000
LARGEST = sys.float_info.max
LONGEST_NAME = 200  # bytes; file systems allow 255, and names of a study's files are longer


def _short(name: str) -> str:
    if len(name.encode()) > LONGEST_NAME:
        raise PydanticCustomError(
            "long", "the name of a study has at most {most} bytes", {"most": LONGEST_NAME}
        )
    return name


# A study's name becomes the name of folders, so it must not contain a path or start with a dot.
StudyName = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100), AfterValidator(_short)]
# Separates the name of a study, which cannot contain it, from the hash of a variant.
VARIANT = "~"
StudyOrVariant = Annotated[
    str, Field(pattern=rf"^\w[\w.-]*({VARIANT}[0-9a-f]{{12}})?$"), AfterValidator(_short)
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range of NumPy's seeds
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(le=10**9)]  # larger numbers overflow in arithmetic
# Settings that decide paths, speed or names, but never the outcome of a run.
INCIDENTAL = {"data_dir", "labels", "cache_gb", "factors"}
# Settings that must be equal in all runs of a study to make them comparable: the images and their
# split, the machine's computation, and the criterion.
NEVER_A_FACTOR = {
    *("dataset", "data_dir", "labels", "groups", "max_images"),
    *("test_share", "folds", "official_test", "validation_share", "train_images"),
    *("cache_gb", "device", "threads", "instructions", "criterion"),
}


def _once(values: list[Any]) -> list[Any]:
    if any(value in values[:index] for index, value in enumerate(values)):
        raise PydanticCustomError("once", "each value may occur only once")
    return values


Once = AfterValidator(_once)


def _rate_or_race(value: Any) -> float | tuple[float, ...]:
    """One learning rate, or several that race."""
    several = isinstance(value, list | tuple)
    rates = value if several else [value]
    numbers = all(type(rate) in (int, float) and 0 < rate <= LARGEST for rate in rates)
    if not rates or not numbers or len(set(rates)) < len(rates):
        raise PydanticCustomError(
            "rate",
            "must be a finite number greater than 0, or a list of such numbers, all different",
        )
    return tuple(map(float, rates)) if several else float(value)


# Written as it is: pydantic's serializer for this union warns of a tuple in JSON, and one in Python
# would turn Ctrl-C into an error of pydantic.
Rates = SerializeAsAny[Annotated[float | tuple[float, ...], PlainValidator(_rate_or_race)]]


class Strict(BaseModel):
    """A model without silent conversions, unknown names, infinities or later changes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Protocol(Strict):
    """Settings that all runs of a study share."""

    dataset: Literal["elpv", "fashion_mnist", "digits", "imagefolder"] = "elpv"
    data_dir: str | None = Field(
        None,
        description="folder with one folder per class, for `imagefolder`, relative to the study's "
        "file; or a URL that fsspec reads",
    )
    labels: str | None = Field(None, description="CSV of paths and labels, instead of folders")
    groups: str | None = Field(
        None, description="column, or pattern in names: images of one object stay in one part"
    )
    max_images: Count = Field(
        0, ge=0, description="stratified subset of this size; 0 takes all images"
    )
    image_size: int = Field(ge=16, le=2048, description="side of the square input, pixels")
    resize: Resize = Field(
        "squash", description="to a square: squash the image, pad its short side, or crop it"
    )
    background: Background = Field("white", description="behind transparent pixels and in padding")
    test_share: Share = Field(0.25, description="share of all images held out as the test set")
    folds: Count = Field(
        0, ge=0, description="seed s tests on fold s mod folds; 0 tests all seeds on one share"
    )
    official_test: bool = Field(False, description="test on the images that the data set names")
    validation_share: Share = Field(0.25, description="share of the rest; 0.25 is train 3 : 1")
    train_images: Count = Field(
        0, ge=0, description="sampled per seed, with validation in proportion; 0 takes all"
    )

    backbone: str = Field("tf_efficientnet_lite0", description="a timm EfficientNet")
    weights: str = Field("packaged", description="packaged, hub, none, or a weights file")
    hidden_width: Count = Field(256, ge=1, description="width of the mlp head's hidden layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_statistics: Literal["batch", "pretrained"] = Field(
        "batch",
        description="statistics of trained batch norm: those of each batch, or constant ones from "
        "pretraining; scale and shift train either way",
    )
    augment: Literal["none", "mirror", "flips", "flips_and_turns", "random"] = Field(
        "none",
        description="views of training images: none; mirrored (2 views); flipped along both axes "
        "(4); also turned by quarters (8); or random crops, mirrored, with changed colours",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="in the loss; balanced: each class has the same total weight"
    )

    learning_rate: Rates = Field(
        1e-4, description="a number; or a list, which the run races to continue with the best"
    )
    race_epochs: Count = Field(
        1,
        ge=1,
        description="epochs per rate of a list; the lowest validation loss wins, by any criterion",
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="rate of each layer, as a share of the rate of the layer above it"
    )
    head_first: Count = Field(
        0, ge=0, description="epochs of the head alone, at a rate of 1e-3, before the others"
    )
    batch_size: Count = Field(4, ge=2)
    epochs: Count = Field(15, ge=1, description="at most this many")
    early_stop_patience: Count | None = Field(
        2, ge=1, description="epochs without an improvement; null trains all epochs"
    )
    select: Literal["best", "last"] = Field(
        "best", description="the epoch whose weights are used: best on validation, or the last"
    )
    criterion: Criterion = Field(
        "accuracy", description="measure on validation that selects the epoch and the best run"
    )
    plateau_patience: Count = Field(1, ge=0)
    plateau_factor: float = Field(0.5, gt=0, lt=1)

    cache_gb: float | None = Field(
        None,
        ge=0,
        description="disk for activations; 0 for none, None for a quarter of the free space",
    )
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1, le=1024, description="CPU threads per run; changes the last bits")
    instructions: Instructions = Field(
        "portable",
        description="CPU instructions: portable gives equal bits on all x86 with AVX2; or native",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the trained part; bfloat16 is mixed precision, for a GPU"
    )
    compiled: bool = Field(False, description="train with torch.compile, for a GPU")

    freeze: int = Field(
        0, ge=FREEZE[0], le=FREEZE[-1], description="stem and first n stages frozen"
    )
    head: Head = "none"
    scheduler: Scheduler = "plateau"

    @field_validator("data_dir", "labels")
    @classmethod
    def _url_can_be_read(cls, place: str | None, info: ValidationInfo) -> str | None:
        """Make sure that the URLs of a chain can be taken apart; they may hold a secret."""
        try:
            for url in place.split("::") if place and is_url(place) else []:
                urlsplit(url)
        except ValueError as error:
            raise ValueError(f"{info.field_name} is no URL that can be read: {error}.") from None
        return place

    @model_validator(mode="after")
    def _one_kind_of_test_set(self) -> Self:
        if self.folds == 1 or (self.folds and self.official_test):
            raise ValueError(
                "folds must be 0, or 2 and more. With official_test: true it must be 0, because "
                "the data set's test set is the same for all seeds."
            )
        return self

    @model_validator(mode="after")
    def _race_ends_in_time(self) -> Self:
        if len(self.rates) > 1 and self.race_epochs > self.epochs:
            raise ValueError(
                f"race_epochs = {self.race_epochs}: must be at most epochs, which is {self.epochs}."
            )
        return self

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of the race; a single rate needs no race."""
        rate = self.learning_rate
        return rate if isinstance(rate, tuple) else (rate,)

    @property
    def patience(self) -> int:
        """Number of epochs without an improvement after which training stops."""
        return self.early_stop_patience or self.epochs

    @property
    def trained_epochs(self) -> int:
        """Upper bound of the trained epochs, including the rates that lose the race."""
        return (len(self.rates) - 1) * self.race_epochs + self.epochs


def _level(name: str) -> Any:
    """The type of a setting, with its limits."""
    field = Protocol.model_fields[name]
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


# A model for the levels of factors, with one field per setting that can be a factor.
Levels = create_model(
    "Levels",
    __base__=Strict,
    **{
        name: (Annotated[list[_level(name)], Field(min_length=1), Once], None)  # type: ignore[misc]
        for name in Protocol.model_fields
        if name not in NEVER_A_FACTOR
    },
)  # type: ignore[call-overload]


def _checked(given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Validate the levels of factors, and keep the order of the factors.

    A study that varies only factors of the source gets all of them, in the source's order.
    """
    checked = Levels.model_validate(given)
    if given.keys() <= SOURCE_FACTORS.keys():
        given = SOURCE_FACTORS | given
    return {name: getattr(checked, name) or levels for name, levels in given.items()}


Factors = Annotated[dict[str, list[Any]], Field(min_length=1), AfterValidator(_checked)]


class Settings(Protocol):
    """The settings of one run: protocol, configuration and seed; they determine its record."""

    seed: Seed = Field(0, description="fixes split, head initialisation and data order")
    study: StudyOrVariant = "quick"
    factors: Factors = Field(
        SOURCE_FACTORS, description="levels that the study compares; they number and name its runs"
    )

    @property
    def levels(self) -> dict[str, Any]:
        """The configuration: the level of each factor."""
        return {name: getattr(self, name) for name in self.factors}

    @model_validator(mode="after")
    def _random_views_pass_no_frozen_stage(self) -> Self:
        if self.augment == "random" and self.freeze:
            raise ValueError(
                "augment = random needs freeze = 0: activations of frozen stages are cached, and "
                "random views never repeat. Use flips_and_turns, flips or mirror."
            )
        return self

    @property
    def number(self) -> int:
        """Number of the configuration in its design, from 1; 0 if it is not in the design.

        A study that varies only factors of the source uses the numbers 1..28 of its Table 1.
        """
        number = 0
        for name, levels in _naming(self.factors).items():
            if self.levels[name] not in levels:
                return 0
            number = number * len(levels) + levels.index(self.levels[name])
        return number + 1

    @property
    def run_id(self) -> str:
        """Name of the record and of the executed notebook.

        For example `09-freeze2-none-plateau-seed0`, or `17-freeze3-pretrained-lr1e-4-seed0`.
        """
        design = _naming(self.factors)
        digits = max(2, len(str(math.prod(map(len, design.values())))))
        words = "-".join(_spelled(name, level) for name, level in self.levels.items())
        return f"{self.number:0{digits}d}-{_shortened(words)}-seed{self.seed}"

    @property
    def schedules(self) -> list["Settings"]:
        """The runs of the study that differ from this one at most in their schedule.

        Their first epoch is the same.
        """
        levels = self.factors.get("scheduler", [self.scheduler])
        return [self.model_copy(update={"scheduler": level}) for level in levels]

    def recorded(self) -> "Settings":
        """The settings for a record, with the name of the image folder instead of its path."""
        return self.model_copy(update=places(self, place_name))


# The settings that a person can choose for one run.
PARAMETERS = [name for name in Settings.model_fields if name != "factors"]


def _naming(factors: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The factors that number the runs: those of the source, or the study's own."""
    return SOURCE_FACTORS if factors.keys() <= SOURCE_FACTORS.keys() else factors


def _spelled(name: str, level: Any) -> str:
    """A level in the name of a run: `freeze3`, `lr1e-4`, `flips`, `no_augment`."""
    if isinstance(level, str) and (level != "none" or name == "head"):
        clean = re.sub(r"[^\w.]+", "_", level, flags=re.ASCII)
        return clean if clean == level else f"{clean[-30:]}_{_hash(level)}"
    if isinstance(level, bool):
        return name if level else f"no_{name}"
    if level in (None, "none"):
        return f"no_{name}"
    values = level if isinstance(level, tuple) else (level,)
    return f"{SHORT.get(name, name)}{'_'.join(map(short_number, values))}"


SHORT = {"learning_rate": "lr"}


def short_number(value: float) -> str:
    """Write a number with all digits and few characters: `3`, `0.25`, `1e-4`."""
    digits = Decimal(repr(value)).normalize()
    plain = value == 0 or 0.01 <= abs(value) < 100_000
    return f"{digits:f}" if plain else f"{digits:e}"


def _shortened(words: str, most: int = 120) -> str:
    """Shorten words that are too long for a file name; a hash keeps them distinct."""
    return words if len(words) <= most else f"{words[:most]}_{_hash(words)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


class Study(Strict):
    """A full-factorial design on one data set."""

    name: StudyName
    title: str
    seeds: Annotated[list[Seed], Once] = Field(min_length=1)
    smallest_effect: float = Field(
        0.5, gt=0, description="accuracy in percentage points; smaller effects do not matter"
    )
    factors: Factors = Field(SOURCE_FACTORS, description="settings to compare, with their levels")
    protocol: Protocol

    def runs(self) -> Iterator[Settings]:
        """All runs, seed by seed, in the order of their numbers."""
        configurations = self.configurations()
        for seed in self.seeds:
            for settings in configurations:
                yield settings.model_copy(update={"seed": seed})

    def configurations(self) -> list[Settings]:
        """The run of each configuration with the first seed, in the order of their numbers."""
        shared = self.protocol.model_dump() | {
            "study": self.name,
            "seed": self.seeds[0],
            "factors": self.factors,
        }
        combinations = product(*self.factors.values())
        return [
            Settings(**shared | dict(zip(self.factors, levels, strict=True)))
            for levels in combinations
        ]

    @model_validator(mode="after")
    def _every_configuration_is_possible(self) -> Self:
        runs = len(self.seeds) * math.prod(map(len, self.factors.values()))
        if runs > MOST_RUNS:
            raise ValueError(
                f"The study has {runs:,} runs, and {MOST_RUNS:,} are possible. Give fewer seeds or "
                "levels of factors."
            )
        self.configurations()
        return self


def places(protocol: Protocol, change: Callable[[str], str]) -> dict[str, str]:
    """Apply a function to the settings that name a place of data, a path or URL."""
    given = protocol.model_dump(include={"data_dir", "labels"})
    return {name: change(place) for name, place in given.items() if place}


def is_url(place: str) -> bool:
    """Whether a place is a URL such as `s3://...`, and not a path such as `C://...`."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+(::|://)", place, re.IGNORECASE))


def place_name(place: str) -> str:
    """The last part of a path or a URL, without the query of a URL, which may be a secret."""
    if is_url(place):  # may be a chain such as zip::https://host/photos.zip
        place = urlsplit(re.split("[?#]", place)[0].split("::")[-1]).path
    name = Path(place).name
    return "data" if name in ("", "..") else name
