"""The design of a study: fixed protocol, factors and seeds, read from one YAML file.

`Settings` is everything that decides the outcome of one run. A run of a study is the
study's protocol plus one configuration (freeze, head, scheduler) plus one seed.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.processor import Instructions
from effnet_core.study.plain_yaml import read_yaml

FREEZE = (0, 1, 2, 3, 4, 5, 6)
HEADS = ("none", "mlp")
SCHEDULERS = ("plateau", "cosine")
FACTORS = ["freeze", "head", "scheduler"]
HEAD_WORDS = {"none": "one linear layer", "mlp": "two linear layers with dropout"}

Head = Literal["none", "mlp"]
Scheduler = Literal["plateau", "cosine"]
Resize = Literal["squash", "pad", "crop"]
Background = Literal["white", "black"]
# A study's name becomes the name of folders, so it cannot lead out of them, nor hide.
StudyName = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)]
PUBLISHED = "published"
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # more is too much for NumPy
Share = Annotated[float, Field(gt=0, lt=1)]
# Settings that say where data lie or how fast a run goes, never what comes out of it.
INCIDENTAL = {"data_dir", "labels", "cache_gb"}


def _once(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("once", "each value may be there once only")
    return values


Once = AfterValidator(_once)


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

    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(4, ge=2)
    epochs: int = Field(15, ge=1, description="at most this many")
    early_stop_patience: int = Field(2, ge=1, description="epochs without a better accuracy")
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


class Settings(Protocol):
    """One run: a protocol, a configuration and a seed. Same settings, same record."""

    study: StudyName = "quick"
    freeze: int = Field(
        0, ge=FREEZE[0], le=FREEZE[-1], description="stem and first n stages frozen"
    )
    head: Head = "none"
    scheduler: Scheduler = "plateau"
    seed: Seed = Field(0, description="fixes split, head initialisation and data order")

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
        return self.model_copy(update=_places(self, place_name))


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


def study_names() -> list[str]:
    return sorted(path.stem for path in paths.STUDIES.glob("*.yml"))


def study_path(name: str) -> Path:
    """The YAML file of a study: of a name in `studies/`, or the path itself.

    A study elsewhere is known by its name once it was swept: its design lies beside its records.
    """
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    place, left = paths.STUDIES / f"{name}.yml", paths.design(name)
    return left if "/" not in name and left.is_file() and not place.is_file() else place


def load_study(name: str) -> Study:
    """Read and validate a study.

    Args:
        name: a name in `studies/`, or the path of a YAML file of your own.

    Raises:
        InputError: no such study, or a setting that is unknown or out of range.
    """
    path = study_path(name)
    if not path.is_file():
        known = study_names()
        raise InputError(
            f"There is no study {name!r}{_nearest(name, known)} "
            f"Studies: {', '.join(known)}; or give the path of a .yml file."
        )
    if path.stem == PUBLISHED:
        raise InputError(f"{path}: {PUBLISHED!r} is where published studies are. Rename the file.")
    return read_study(path, name if path == paths.design(name) else path.stem)


def read_study(path: Path, name: str) -> Study:
    """The study in a file, under the name that its records have; errors as in `load_study`."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold settings (`name: value`), see studies/quick.yml.")
    if "name" in content:
        raise InputError(f"{path}: a study is named as its file is. Remove `name`.")
    try:
        study = Study.model_validate(content | {"name": name})
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, Study)}") from None
    placed = _places(study.protocol, lambda place: _beside(path, place))
    return study.model_copy(update={"protocol": study.protocol.model_copy(update=placed)})


def _places(protocol: Protocol, change: Callable[[str], str]) -> dict[str, str]:
    """The settings that name a place on this machine, changed."""
    given = protocol.model_dump(include={"data_dir", "labels"})
    return {name: change(place) for name, place in given.items() if place}


def _beside(path: Path, place: str) -> str:
    """A place that a study's file names: relative to that file, wherever it is used."""
    if is_url(place):
        return place
    return os.path.abspath(path.resolve().parent / Path(place).expanduser())  # noqa: PTH100


def is_url(place: str) -> bool:
    """Whether a place is not a path of this machine: `s3://...`, not `C://...`."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+(::|://)", place))


def place_name(place: str) -> str:
    """The last part of a path or a URL, without what a URL asks with: that may be a secret."""
    return Path(urlsplit(place).path if is_url(place) else place).name or "data"


def read_settings(parameters: Mapping[str, Any]) -> Settings:
    """The settings of one run from notebook parameters.

    A protocol setting that is None is as the study says. One that differs makes another
    study, with a name of its own: its record cannot be mistaken for one of the study's.

    Raises:
        InputError: an unknown name (with the nearest valid one), a wrong type, a value out
            of range.
    """
    valid = list(Settings.model_fields)
    unknown = [name for name in parameters if name not in valid]
    if unknown:
        raise InputError(_unknown(unknown[0], valid))
    name = parameters.get("study", "quick")
    if not isinstance(name, str):
        raise InputError(f"study = {name!r}: must be a name, such as 'quick'.")
    study = load_study(name)
    protocol = study.protocol.model_dump()
    chosen = {n: v for n, v in parameters.items() if not (v is None and n in protocol)}
    try:
        settings = Settings.model_validate(protocol | chosen | {"study": study.name})
    except ValidationError as error:
        raise InputError(_explain(error, Settings)) from None
    return settings.model_copy(update={"study": study_name(study, settings)})


def overrides(protocol: Protocol, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings that are not as a study's protocol says: what they are, and what it says."""
    given = settings.model_dump()
    return {n: (given[n], v) for n, v in protocol if given[n] != v}


def study_name(study: Study, settings: Settings) -> str:
    """What a run belongs to: the study, or a variant of it, named by what is overridden."""
    changed = {name: now for name, (now, _) in overrides(study.protocol, settings).items()}
    changed.pop("cache_gb", None)  # decides how fast, not what
    if not changed:
        return study.name
    text = json.dumps(changed, sort_keys=True)
    return f"{study.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _nearest(name: str, valid: list[str]) -> str:
    """How a sentence about a misspelt name ends."""
    match = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean {match[0]!r}?" if match else "."


def _unknown(name: str, valid: list[str]) -> str:
    return f"There is no setting {name!r}{_nearest(name, valid)} Valid names: {', '.join(valid)}."


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem: which setting, what it was, what it may be."""
    sections: dict[str, type[BaseModel]] = {"protocol": Protocol, "factors": Factors}
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        given, message = _shown(problem["input"]), problem["msg"]
        if problem["type"] == "extra_forbidden":
            section, _, setting = name.rpartition(".")
            lines.append(_unknown(setting, list(sections.get(section, model).model_fields)))
        elif problem["type"] == "missing":
            lines.append(f"{name} is missing.")
        elif problem["type"] == "literal_error":
            choices = problem["ctx"]["expected"]
            hint = _nearest(given.strip("'"), choices.split("'")[1::2])
            lines.append(f"{name} = {given}: must be {choices}{hint}")
        elif problem["type"] == "value_error":  # settings that do not go together
            lines.append(str(problem["ctx"]["error"]))
        else:
            lines.append(f"{name} = {given}: {message[0].lower()}{message[1:]}.")
    return " ".join(lines)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        return "a value too long to show"
    return text if len(text) <= 200 else f"{text[:200]} ..."


def override_lines(settings: Settings, protocol: Protocol) -> list[str]:
    """What differs from a study's protocol, as `name: was -> is`."""
    changed = overrides(protocol, settings)
    return [f"{name}: {was} -> {now}" for name, (now, was) in changed.items()]
