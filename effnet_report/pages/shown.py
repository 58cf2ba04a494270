"""The studies that this book shows."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from effnet_core import paths
from effnet_core.study.design import Study
from effnet_report.escaping import listed
from effnet_report.evidence import evidence
from effnet_report.evidence.loader import load_design
from effnet_report.inference import analysis
from effnet_report.inference import neighbours as of_neighbours
from effnet_report.inference import recipes as of_recipes
from effnet_report.inference.advice import advise
from effnet_report.inference.analysis import Analysis
from effnet_report.measurements.consecutive import Consecutive
from effnet_report.numbers import number
from effnet_report.render.citations import About
from effnet_report.render.citations import about as about_images
from effnet_report.render.html import link
from effnet_report.words import joined


def data_sets() -> list[Analysis]:
    """The studies that can be judged, the main one first, one per data set.

    A study on the same images as an earlier one is left out: it is no other data set.
    """
    studies: dict[str, Analysis] = {}
    for study in every():
        if _judged(study):
            studies.setdefault(_data(study), study)
    return list(studies.values())


def advising() -> list[Analysis]:
    """Per data set, the study with the best model on validation images, the main data set first.

    A study that compares recipes speaks for its best one; one that cannot be judged yet is left
    out.
    """
    alike: dict[str, list[Analysis]] = {}
    for study in filter(_judged, every()):
        alike.setdefault(_data(study), []).append(_best(study))
    return [max(rivals, key=_merit) for rivals in alike.values()]


def other_recipes(study: Analysis) -> Iterator[Markup]:
    """Which study a page is about, where the book has others of the same images.

    Their designs tell, so that a page that shows one study reads no records of another.
    """
    here = _images(study.evidence.design)
    others = [
        design.title
        for reference in evidence.shown()
        if reference != study.evidence.reference
        and _images(design := load_design(reference)) == here
    ]
    if others:
        yield Markup(
            "This page is about the study “{}”. Other studies tried other recipes on the same "
            "images: {}. Of these studies, the first page takes the one whose best model is best "
            "on validation images. {}"
        ).format(
            title(study),
            listed([f"“{other}”" for other in others]),
            link("recipe.html", "Does the recipe matter?"),
        )


def _images(design: Study) -> tuple[str, str | None, str | None]:
    """Where the images of a study are from."""
    return design.protocol.dataset, design.protocol.data_dir, design.protocol.labels


_best = lru_cache(maxsize=16)(of_recipes.best)  # several parts of a page ask for it


def _judged(study: Analysis) -> bool:
    return bool(study.correctness.seeds)


def _data(study: Analysis) -> str:
    return study.evidence.finished[0].fingerprints.data


def _merit(study: Analysis) -> tuple[bool, float]:
    """Whether a study can advise, and the mean validation score of its best configuration."""
    can_advise = study.recommendation.nearest is not None
    return can_advise, fmean(record.validation_score for record in study.evidence.best)


def recipes() -> list[Analysis]:
    """The studies that compare freezing at several recipes."""
    compared = filter(of_recipes.compares_depths, every())
    return [study for study in compared if of_recipes.factors(study)]


def on_the_same_images(study: Analysis) -> list[Analysis]:
    """The other studies of the data set of a study."""
    data = _data(study)
    others = (other for other in every() if other.evidence.reference != study.evidence.reference)
    return [other for other in others if _judged(other) and _data(other) == data]


def with_other_recipes(study: Analysis) -> list[Analysis]:
    """Studies of the images of a study that differ from it and from each other in their recipe.

    It is one of them, and the one most like the source's is last; nothing if there is no other.
    """
    return of_recipes.comparable([study, *on_the_same_images(study)])


def begun(study: Analysis) -> str:
    """What another recipe has reached so far on the same images, in a study with no whole seed."""
    for other in every():
        runs = other.evidence.runs
        if not runs.empty and not _judged(other) and _data(other) == _data(study):
            low, high = runs["test_accuracy"].min(), runs["test_accuracy"].max()
            return (
                f"the study “{title(other)}” tries another recipe and has {len(runs)} of "
                f"{len(other.evidence.planned)} runs so far, with {number(low)} to "
                f"{number(high)} % on test images"
            )
    return ""


def same_images(study: Analysis, other: Analysis) -> bool:
    """Whether two studies, with at least one record each, have the same data set."""
    return _data(study) == _data(other)


def flattery(study: Analysis) -> list[of_neighbours.Change]:
    """What keeping neighbouring images on one side of a split changes, if that was measured."""
    return of_neighbours.changes(study.evidence, Consecutive.load())


def neighbours(study: Analysis) -> Iterator[str]:
    """The same in words."""
    if changes := flattery(study):
        parts = [
            f"by {number(change.effect, sign=True)} points (95 % CI {number(change.low)} to "
            f"{number(change.high)}) with {change.frozen or 'no'} frozen stages"
            for change in changes
        ]
        yield (
            "The data set does not say which cells come from the same module, so a random split "
            "can put cells of one module on both sides. When blocks of "
            f"{changes[0].block} consecutive cells stay on one side, accuracy changes "
            f"{joined(parts)}. The intervals of this report treat cells as independent, so they "
            "may be too narrow."
        )


def best_on_validation(study: Analysis) -> Iterator[str]:
    """Which configuration is the best one, if the first page advises another depth."""
    advised = advise(study)
    best = study.evidence.best
    if advised and best and best[0].settings.freeze != advised.freeze:
        yield (
            f"This page is about the configuration with the best mean on validation images "
            f"(freeze {best[0].settings.freeze}). The first page averages all configurations of a "
            "depth, so its numbers differ, and it advises another depth."
        )


def factors_of(study: Analysis) -> list[str]:
    """Settings of which a study tries several levels."""
    return [name for name, levels in study.evidence.design.factors.items() if len(levels) > 1]


def about(study: Analysis) -> About:
    """A study's data set in plain words."""
    return about_images(study.evidence.design.protocol, title(study))


def title(study: Analysis) -> str:
    """A study's title, with its name where another study of the book has the same title."""
    own = study.evidence.design.title
    titles = [load_design(reference).title for reference in evidence.shown()]
    return own if titles.count(own) < 2 else f"{own} ({study.evidence.reference})"


def main() -> Analysis:
    """The main study of the book."""
    return every()[0]


def every() -> list[Analysis]:
    """The studies of the book, each read once as long as its records stay the same."""
    return [_read(reference, *_state(reference)) for reference in evidence.shown()]


@lru_cache(maxsize=16)
def _read(reference: str, *_: object) -> Analysis:
    return analysis.load(reference)


def _state(reference: str) -> tuple[Path, str, frozenset[tuple[str, int]]]:
    """What a study is read from: its folder, its design, and the age of its files."""
    folder = paths.records(reference)
    there = os.scandir(folder) if folder.is_dir() else ()
    files = frozenset((file.name, file.stat(follow_symlinks=False).st_mtime_ns) for file in there)
    return folder, load_design(reference).model_dump_json(), files
