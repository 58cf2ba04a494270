"""The design of a study: fixed protocol, factors and seeds, read from one YAML file.

`Settings` is everything that decides the outcome of one run. A run of a study is the
study's protocol plus one configuration (a level of each factor) plus one seed.
"""

import hashlib
import math
import re
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
    PlainSerializer,
    PlainValidator,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from effnet_core.processor import Instructions

FREEZE = (0, 1, 2, 3, 4, 5, 6)
HEADS = ("none", "mlp")
SCHEDULERS = ("plateau", "cosine")
# What a study compares unless it says otherwise: the source's factors, in the order of its Table 1.
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
LONGEST_NAME = 200  # bytes; a file system takes 255, and files of a study end in more


def _short(name: str) -> str:
    if len(name.encode()) > LONGEST_NAME:
        raise PydanticCustomError(
            "long", "the name of a study has at most {most} bytes", {"most": LONGEST_NAME}
        )
    return name


# A study's name becomes the name of folders, so it cannot lead out of them, nor hide.
StudyName = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100), AfterValidator(_short)]
# Between a study's name, which cannot hold it, and the hash that names a variant of the study.
VARIANT = "~"
StudyOrVariant = Annotated[
    str, Field(pattern=rf"^\w[\w.-]*({VARIANT}[0-9a-f]{{12}})?$"), AfterValidator(_short)
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # more is too much for NumPy
Share = Annotated[float, Field(gt=0, lt=1)]
# Settings that say where data lie, how fast a run goes or what it is called, never what comes out
# of it.
INCIDENTAL = {"data_dir", "labels", "cache_gb", "factors"}
# Settings that are the same in all runs of a study, so that these can be compared: the images and
# their split, where and how a run computes, and what its quality is.
NEVER_A_FACTOR = {
    *("dataset", "data_dir", "labels", "groups", "max_images"),
    *("test_share", "folds", "official_test", "validation_share", "train_images"),
    *("cache_gb", "device", "threads", "instructions", "criterion"),
}


def _once(values: list[Any]) -> list[Any]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise PydanticCustomError("once", "each value may be there once only")
    return values


Once = AfterValidator(_once)


def _rate_or_race(value: Any) -> float | tuple[float, ...]:
    """One learning rate, or several that race."""
    several = isinstance(value, list | tuple)
    rates = value if several else [value]
    numbers = all(type(rate) in (int, float) and math.isfinite(rate) and rate > 0 for rate in rates)
    if not rates or not numbers or len(set(rates)) < len(rates):
        raise PydanticCustomError(
            "rate",
            "must be a finite number greater than 0, or a list of such numbers, each there once",
        )
    return tuple(map(float, rates)) if several else float(value)


# The serializer keeps what it gets: pydantic's own for this union warns of a tuple in JSON.
Rates = Annotated[
    float | tuple[float, ...],
    PlainValidator(_rate_or_race),
    PlainSerializer(lambda rates: rates),
]


class Strict(BaseModel):
    """No silent conversions, unknown names, infinities or changes after validation."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Protocol(Strict):
    """What all runs of a study share."""

    dataset: Literal["elpv", "fashion_mnist", "digits", "imagefolder"] = "elpv"
    data_dir: str | None = Field(
        None,
        description="folder of class folders, for `imagefolder`, relative to the study's file; or "
        "a URL that fsspec reads",
    )
    labels: str | None = Field(None, description="CSV of paths and labels, instead of folders")
    groups: str | None = Field(
        None, description="column, or pattern in names: images of one object stay in one part"
    )
    max_images: int = Field(
        0, ge=0, description="stratified subset of this size; 0 takes all images"
    )
    image_size: int = Field(ge=16, le=2048, description="side of the square input, pixels")
    resize: Resize = Field(
        "squash", description="to the square: squash the image, pad its short side, or crop it"
    )
    background: Background = Field("white", description="behind transparent images; pads")
    test_share: Share = Field(0.25, description="share of all images held out as the test set")
    folds: int = Field(
        0, ge=0, description="seed s tests on fold s mod folds; 0 tests all seeds on one share"
    )
    official_test: bool = Field(False, description="test on the images that the data set names")
    validation_share: Share = Field(0.25, description="share of the rest; 0.25 is train 3 : 1")
    train_images: int = Field(
        0, ge=0, description="drawn anew by each seed, validation in proportion; 0 takes all"
    )

    backbone: str = Field("tf_efficientnet_lite0", description="a timm EfficientNet")
    weights: str = Field("packaged", description="packaged, hub, none, or a weights file")
    hidden_width: int = Field(256, ge=1, description="width of the mlp head's hidden layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_statistics: Literal["batch", "pretrained"] = Field(
        "batch",
        description="what batch norm that trains normalises with: those of each batch, or those "
        "of the pretrained weights, which stay; its scale and shift train either way",
    )
    augment: Literal["none", "mirror", "flips", "flips_and_turns", "random"] = Field(
        "none",
        description="training images as they are; mirrored (2 views); flipped along both axes "
        "(4); also turned by quarters (8); or random crops, mirrored, in slightly other colours",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="in the loss; balanced: each class counts the same in all"
    )

    learning_rate: Rates = Field(
        1e-4, description="a number; or a list: the run races them and goes on with the best"
    )
    race_epochs: int = Field(
        1, ge=1, description="trained with each rate of a list, before the lowest loss wins"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="each layer trains at this share of the rate of the layer above it"
    )
    head_first: int = Field(
        0, ge=0, description="epochs of the head alone, at a rate of 1e-3, before all else trains"
    )
    batch_size: int = Field(4, ge=2)
    epochs: int = Field(15, ge=1, description="at most this many")
    early_stop_patience: int | None = Field(
        2, ge=1, description="epochs without a better score; null trains all epochs"
    )
    select: Literal["best", "last"] = Field(
        "best", description="the epoch whose weights count: best on validation, or the last"
    )
    criterion: Criterion = Field(
        "accuracy", description="on validation, chooses the epoch and the best run"
    )
    plateau_patience: int = Field(1, ge=0)
    plateau_factor: float = Field(0.5, gt=0, lt=1)

    cache_gb: float | None = Field(
        None, ge=0, description="disk for activations; 0 keeps none, None a quarter of what is free"
    )
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1, description="CPU threads of a run; changes the last bits")
    instructions: Instructions = Field(
        "portable",
        description="of the CPU: portable gives the same bits on every x86 with AVX2; or native",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of what trains; bfloat16 is mixed precision, for a GPU"
    )
    compiled: bool = Field(False, description="train through torch.compile, for a GPU")

    freeze: int = Field(
        0, ge=FREEZE[0], le=FREEZE[-1], description="stem and first n stages frozen"
    )
    head: Head = "none"
    scheduler: Scheduler = "plateau"

    @model_validator(mode="after")
    def _one_kind_of_test_set(self) -> Self:
        if self.folds == 1 or (self.folds and self.official_test):
            raise ValueError(
                "folds is 0, or 2 and more; and with official_test: true it is 0, as the data "
                "set's own test images are the same for all seeds."
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
        """The learning rates that race; a single one needs no race."""
        rate = self.learning_rate
        return rate if isinstance(rate, tuple) else (rate,)

    @property
    def patience(self) -> int:
        """Epochs without a better score after which training stops."""
        return self.early_stop_patience or self.epochs

    @property
    def trained_epochs(self) -> int:
        """At most, those of rates that lose the race included."""
        return (len(self.rates) - 1) * self.race_epochs + self.epochs


def _level(name: str) -> Any:
    """The type of a setting, with its limits."""
    field = Protocol.model_fields[name]
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


# The levels that factors can have, as a model whose fields are the settings that can be factors.
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
    """Levels of the types that their settings have, in the order in which factors were given.

    A study of nothing but factors of the source has all of these, in the source's order.
    """
    checked = Levels.model_validate(given)
    if given.keys() <= SOURCE_FACTORS.keys():
        given = SOURCE_FACTORS | given
    return {name: getattr(checked, name) or levels for name, levels in given.items()}


Factors = Annotated[dict[str, list[Any]], Field(min_length=1), AfterValidator(_checked)]


class Settings(Protocol):
    """One run: a protocol, a configuration and a seed. Same settings, same record."""

    seed: Seed = Field(0, description="fixes split, head initialisation and data order")
    study: StudyOrVariant = "quick"
    factors: Factors = Field(
        SOURCE_FACTORS, description="what the study compares: it numbers and names its runs"
    )

    @property
    def levels(self) -> dict[str, Any]:
        """The configuration: the level of each factor."""
        return {name: getattr(self, name) for name in self.factors}

    @model_validator(mode="after")
    def _random_views_pass_no_frozen_stage(self) -> Self:
        if self.augment == "random" and self.freeze:
            raise ValueError(
                "augment = random needs freeze = 0: activations of frozen stages are kept, and "
                "random views never come again. Use flips_and_turns, flips or mirror."
            )
        return self

    @property
    def number(self) -> int:
        """Number of the configuration in its design, from 1; 0 if the design has none like it.

        A study of nothing but factors of the source has the numbers of the source's Table 1,
        1..28.
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
        """The study's runs that differ from this one only in their schedule, if at all.

        They begin with the same epoch.
        """
        levels = self.factors.get("scheduler", [self.scheduler])
        return [self.model_copy(update={"scheduler": level}) for level in levels]

    def recorded(self) -> "Settings":
        """As a record tells them: the name of a folder of images, not where it lies."""
        return self.model_copy(update=places(self, place_name))


# What a person can choose for one run.
PARAMETERS = [name for name in Settings.model_fields if name != "factors"]


def _naming(factors: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The design whose order numbers the runs: the source's whole one, or a study's own."""
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
    """All digits of a number in few characters: `3`, `0.25`, `1e-4`."""
    digits = Decimal(repr(value)).normalize()
    plain = value == 0 or 0.01 <= abs(value) < 100_000
    return f"{digits:f}" if plain else f"{digits:e}"


def _shortened(words: str, most: int = 120) -> str:
    """Not longer than a file's name can be."""
    return words if len(words) <= most else f"{words[:most]}_{_hash(words)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


class Study(Strict):
    """A full-factorial design on one data set."""

    name: StudyName
    title: str
    seeds: Annotated[list[Seed], Once] = Field(min_length=1)
    smallest_effect: float = Field(
        0.5, gt=0, description="accuracy, percentage points; less would not change a choice"
    )
    factors: Factors = Field(SOURCE_FACTORS, description="the levels of the settings it compares")
    protocol: Protocol

    def runs(self) -> Iterator[Settings]:
        """All runs, seed by seed, in the order of their numbers."""
        configurations = self.configurations()
        for seed in self.seeds:
            for settings in configurations:
                yield settings.model_copy(update={"seed": seed})

    def configurations(self) -> list[Settings]:
        """One run of each configuration, that of the first seed, in the order of their numbers."""
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
        self.configurations()
        return self


def places(protocol: Protocol, change: Callable[[str], str]) -> dict[str, str]:
    """The settings that name a place on this machine, changed."""
    given = protocol.model_dump(include={"data_dir", "labels"})
    return {name: change(place) for name, place in given.items() if place}


def is_url(place: str) -> bool:
    """Whether a place is not a path of this machine: `s3://...`, not `C://...`."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+(::|://)", place))


def place_name(place: str) -> str:
    """The last part of a path or a URL, without what a URL asks with: that may be a secret."""
    if is_url(place):  # possibly a chain, as zip::https://host/photos.zip
        place = urlsplit(re.split("[?#]", place)[0].split("::")[-1]).path
    return Path(place).name or "data"
