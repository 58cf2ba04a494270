"""Every size that a study of some images can have, with its time and its interval."""

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from effnet_core import paths
from effnet_core.data.datasets import Dataset
from effnet_core.errors import InputError
from effnet_core.study.design import Protocol, Study
from effnet_report.baseline.classical import FOLDS
from effnet_report.inference import forecast
from effnet_report.inference.power import Components
from effnet_report.intake.look import Look
from effnet_report.intake.network import Network
from effnet_report.intake.options import EPOCHS, SIZES, Option, depths, tiers
from effnet_report.sweep.hours import classical_hours, in_parallel, task_hours
from effnet_report.sweep.plan import Timed, time_steps, too_few
from effnet_report.sweep.sweep import automatic_jobs

# What `--ask` compares beside the depth.
ASKED: dict[str, dict[str, list[Any]]] = {
    "depth": {},
    "recipe": {"norm_statistics": ["batch", "pretrained"], "augment": ["none", "mirror"]},
    "head": {"head": ["none", "mlp"]},
    "schedule": {"scheduler": ["plateau", "cosine"]},
}
RATES = (3.0e-5, 1.0e-4, 3.0e-4)


def factors(ask: str) -> dict[str, list[Any]]:
    """The settings that a study compares beside the depth.

    Args:
        ask: names of `ASKED`, with commas between them.

    Raises:
        InputError: there is no such name.
    """
    names = [name.strip() for name in ask.split(",")]
    if unknown := [name for name in names if name not in ASKED]:
        raise InputError(
            f"--ask {unknown[0]}: a study can ask about {', '.join(ASKED)}. Give some of them, "
            "with commas between them; depth is always asked."
        )
    return {name: levels for asked in names for name, levels in ASKED[asked].items()}


@dataclass(frozen=True, eq=False)
class Material:
    """What a study is made of.

    Attributes:
        base: settings that do not depend on the hours.
        compared: settings to compare beside the depth, see `factors`.
    """

    dataset: Dataset
    look: Look
    base: dict[str, Any]
    compared: dict[str, list[Any]]
    network: Network

    @cached_property
    def smallest(self) -> Option:
        """The smallest images, in one seed, with all depths."""
        return Option(depths(self.network.stages)[0], 1, SIZES[-1], EPOCHS, 0)

    @property
    def folds(self) -> bool:
        """Whether each seed has its own test images."""
        return "official_test" not in self.base

    def settings(self, option: Option) -> dict[str, Any]:
        """The protocol, without its defaults."""
        settings = {
            **self.base,
            **self.network.settings,
            "image_size": option.image_size,
            "epochs": option.epochs,
            "learning_rate": RATES,
            "early_stop_patience": None,
        }
        if option.images:
            settings["max_images"] = option.images
        if option.seeds > 1 and self.folds:
            settings["folds"] = option.seeds
        return settings

    def factors(self, option: Option) -> dict[str, list[Any]]:
        """All factors; those of the source need a level each, compared or not."""
        fixed = {name: [forecast.RECIPE[name]] for name in ("head", "scheduler")}
        return {"freeze": [*option.depths]} | fixed | self.compared

    def study(self, name: str, option: Option) -> Study:
        content = {
            "name": name,
            "title": name,
            "seeds": list(range(option.seeds)),
            "factors": self.factors(option),
            "protocol": Protocol(**(self.settings(option) | placed(self.base))),
        }
        return Study.model_validate(content)

    def parts(self, option: Option) -> tuple[int, int, int]:
        """Numbers of training, validation and test images of a run."""
        images = min(option.images or len(self.dataset), len(self.dataset))
        share = 1 / option.seeds if option.seeds > 1 else 0.25
        if not self.folds and self.dataset.official_test is not None:
            share = float(self.dataset.official_test.mean())
        test = round(share * images)
        validation = round(0.25 * (images - test))
        return images - test - validation, validation, test

    def lacks(self, option: Option) -> str:
        """Why this size is impossible: a class has too few different images for a part."""
        return too_few(self.study("new", option), self.dataset, self.look.first_of_equals)


class Weighing:
    """Times options on this machine, each image size once, and forecasts their intervals."""

    def __init__(self, material: Material, components: Components) -> None:
        self.material, self.components = material, components
        self._timed: dict[int, Timed] = {}
        self._jobs = automatic_jobs(material.study("new", material.smallest))

    def tiers(self, least: float) -> list[list[Option]]:
        """The tiers of `options.tiers` with hours and half-widths, as far as classes allow them.

        Args:
            least: hours; tiers after the first that has an option for them are left out.

        Raises:
            InputError: a class is too small for all options.
        """
        weighed: list[list[Option]] = []
        # scikit-learn warns where this raises an error or where nothing is wrong.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            for tier in tiers(
                self.material.look.side, len(self.material.dataset), self.material.network
            ):
                splits = {(option.seeds, option.images) for option in tier}
                possible = {
                    (seeds, images)
                    for seeds, images in splits
                    if not self.material.lacks(
                        replace(self.material.smallest, seeds=seeds, images=images)
                    )
                }
                works = [option for option in tier if (option.seeds, option.images) in possible]
                weighed.append([self._weighed(option) for option in works])
                if any(option.hours <= least for option in weighed[-1]):
                    break
            if not any(weighed):
                raise _too_small(self.material)
        return weighed

    def _weighed(self, option: Option) -> Option:
        train, validation, test = self.material.parts(option)
        images = train + validation + test
        wide = math.inf
        if option.seeds > 1:
            wide = forecast.half_width(
                self.components,
                len(option.depths),
                seeds=option.seeds,
                images=images if self.material.folds else test,
                folds=self.material.folds,
            )
        return replace(option, hours=self._hours(option), half_width=wide)

    def _hours(self, option: Option) -> float:
        """With the classical comparison; infinite if a run does not fit in memory."""
        train, validation, test = self.material.parts(option)
        classes = len(self.material.dataset.classes)
        rows = self._at(option).rows(train, validation, test)
        trainings = [row.hours for row in rows if row.settings.freeze in option.depths]
        trainings *= math.prod(map(len, self.material.compared.values()))
        classical = classical_hours(rows[0].settings, train, train + validation + test, classes)
        return in_parallel(task_hours(trainings, classical, option.seeds), self._jobs)

    def _at(self, option: Option) -> Timed:
        """One run per depth, at the size and epochs of an option."""
        size = option.image_size
        if size not in self._timed:
            one = replace(self.material, compared={})
            study = one.study("new", replace(one.smallest, image_size=size))
            classes = len(self.material.dataset.classes)
            self._timed[size] = time_steps(study, classes, study.protocol.device)
        timed = self._timed[size]
        runs = [run.model_copy(update={"epochs": option.epochs}) for run in timed.runs]
        return replace(timed, runs=runs)


def _too_small(material: Material) -> InputError:
    """The reason why even the smallest study of all images is impossible."""
    dataset, first = material.dataset, material.look.first_of_equals
    needed = round(FOLDS / 0.75**2) + 1
    counts = np.bincount(dataset.labels[np.unique(first)], minlength=len(dataset.classes))
    smallest = int(counts.argmin())
    if dataset.groups is not None or counts[smallest] >= needed:
        return InputError(material.lacks(material.smallest))
    total = int((dataset.labels == smallest).sum())
    copies = f" ({total} with copies)" if total > counts[smallest] else ""
    return InputError(
        f"Class {dataset.classes[smallest]!r} has {counts[smallest]} images{copies}. Training, "
        f"validation, testing and a {FOLDS}-fold comparison need about {needed}. Add images, or "
        "leave the class out."
    )


def placed(source: dict[str, Any]) -> dict[str, str]:
    """The data paths of `source`, from the folder of studies."""
    return {
        name: str(paths.STUDIES / source[name]) for name in ("data_dir", "labels") if name in source
    }
