"""The design of a study: fixed protocol, factors and seeds, read from one YAML file.

`Settings` is everything that decides the outcome of one run. A run of a study is the
study's protocol plus one configuration (freeze, head, scheduler) plus one seed.
"""

import math
import re
from collections.abc import Callable, Iterator
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
    model_validator,
)
from pydantic_core import PydanticCustomError

from effnet_core.processor import Instructions

FREEZE = (0, 1, 2, 3, 4, 5, 6)
HEADS = ("none", "mlp")
SCHEDULERS = ("plateau", "cosine")
FACTORS = ["freeze", "head", "scheduler"]
HEAD_WORDS = {"none": "one linear layer", "mlp": "two linear layers with dropout"}

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
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # more is too much for NumPy
Share = Annotated[float, Field(gt=0, lt=1)]
# Settings that say where data lie or how fast a run goes, never what comes out of it.
INCIDENTAL = {"data_dir", "labels", "cache_gb"}


def _once(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
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


class Settings(Protocol):
    """One run: a protocol, a configuration and a seed. Same settings, same record."""

    study: StudyName = "quick"
    freeze: int = Field(
        0, ge=FREEZE[0], le=FREEZE[-1], description="stem and first n stages frozen"
    )
    head: Head = "none"
    scheduler: Scheduler = "plateau"
    seed: Seed = Field(0, description="fixes split, head initialisation and data order")

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
        """Model number in the source's Table 1, 1..28."""
        return number(self.freeze, self.head, self.scheduler)

    @property
    def run_id(self) -> str:
        """Name of the record and of the executed notebook."""
        return run_id(self.freeze, self.head, self.scheduler, self.seed)

    def recorded(self) -> "Settings":
        """As a record tells them: the name of a folder of images, not where it lies."""
        return self.model_copy(update=places(self, place_name))


def number(freeze: int, head: str, scheduler: str) -> int:
    """Model number of a configuration in the source's Table 1, 1..28."""
    return 1 + 4 * freeze + 2 * HEADS.index(head) + SCHEDULERS.index(scheduler)


def run_id(freeze: int, head: str, scheduler: str, seed: int) -> str:
    """For example `09-freeze2-none-plateau-seed0`."""
    n = number(freeze, head, scheduler)
    return f"{n:02d}-freeze{freeze}-{head}-{scheduler}-seed{seed}"


def describe(freeze: int, head: str, scheduler: str) -> str:
    """A configuration in words, as in `freeze 2, one linear layer, plateau`."""
    return f"freeze {freeze}, {HEAD_WORDS[head]}, {scheduler}"


class Factors(Strict):
    """The levels of each factor; the full design is 7 x 2 x 2 = 28 configurations."""

    freeze: Annotated[list[Annotated[int, Field(ge=FREEZE[0], le=FREEZE[-1])]], Once] = Field(
        default=list(FREEZE), min_length=1
    )
    head: Annotated[list[Head], Once] = Field(default=["none", "mlp"], min_length=1)
    scheduler: Annotated[list[Scheduler], Once] = Field(default=["plateau", "cosine"], min_length=1)


class Study(Strict):
    """A full-factorial design on one data set."""

    name: StudyName
    title: str
    seeds: Annotated[list[Seed], Once] = Field(min_length=1)
    smallest_effect: float = Field(
        0.5, gt=0, description="accuracy, percentage points; less would not change a choice"
    )
    factors: Factors = Factors()
    protocol: Protocol

    def runs(self) -> Iterator[Settings]:
        """All runs, seed by seed, in the order of the source's Table 1."""
        shared = self.protocol.model_dump()
        for seed in self.seeds:
            for freeze, head, scheduler in self.configurations():
                yield Settings(
                    **shared,
                    study=self.name,
                    freeze=freeze,
                    head=head,
                    scheduler=scheduler,
                    seed=seed,
                )

    def configurations(self) -> list[tuple[int, Head, Scheduler]]:
        """(freeze, head, scheduler), in the order of the source's Table 1."""
        f = self.factors
        return list(product(f.freeze, f.head, f.scheduler))


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
