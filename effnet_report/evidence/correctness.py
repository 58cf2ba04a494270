"""Correctness of each configuration on each test image, the basis of all comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from effnet_core.study.design import Study
from effnet_core.study.schema import AnyRecord
from effnet_report.evidence.evidence import Evidence
from effnet_report.words import cell, configuration


@dataclass(frozen=True, eq=False)
class Correctness:
    """The seeds that have a run of every configuration.

    Attributes:
        design: one row per configuration: number, words (all levels), and the level of each factor.
        seeds: in rising order.
        right: per seed, shape (configurations, test images of the seed): the contribution of each
            image to the score, see `by_image`.
        test_sets: number of the test set per seed; seeds with the same number share their images,
            in the same order.
    """

    design: pd.DataFrame
    seeds: list[int]
    right: list[np.ndarray]
    test_sets: list[int]

    @property
    def factors(self) -> list[str]:
        """The factors of the study."""
        return [name for name in self.design.columns if name not in ("number", "words")]

    @property
    def folds(self) -> bool:
        """Whether seeds have different test images."""
        return len(set(self.test_sets)) > 1

    @property
    def images(self) -> int:
        """Number of different test images."""
        sizes = {k: part.shape[1] for k, part in zip(self.test_sets, self.right, strict=True)}
        return sum(sizes.values())

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy per cent, shape (seeds, configurations)."""
        means = [100 * part.mean(axis=1) for part in self.right]
        return np.reshape(means, (len(self.seeds), len(self.design)))


def by_image(evidence: Evidence, record: AnyRecord, part: str = "test") -> np.ndarray:
    """The contribution of each image to a model's score, in the order of names.

    The mean of the contributions is the score.

    For accuracy it says whether the model was right (bool); for balanced accuracy it is a float32.
    """
    table = evidence.predictions(record, part).sort_index()
    return contributions(table, evidence.design.protocol.criterion)


def contributions(table: pd.DataFrame, criterion: str) -> np.ndarray:
    """The same from predictions of one part, in their order."""
    right = (table["label"] == table["predicted"]).to_numpy(dtype=bool)
    if criterion == "accuracy":
        return right
    return balanced(right, table["label"].to_numpy())


def balanced(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The contribution of each image to balanced accuracy: correctness weighted by class.

    An image has the weight N / (classes x images of its class). Only deviations from the mean of
    the class are weighted so: differences between classes are not due to the sample of images,
    because every class counts the same, whatever its number of images.

    Args:
        right: correctness per image, or rows of it, shape (..., N).
        labels: shape (N,).
    """
    classes, of_class, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    indicator = (of_class == np.arange(len(classes))[:, None]).astype(np.float32)
    means = right @ (indicator / sizes[:, None]).T
    weights = len(labels) / (len(classes) * sizes[of_class])
    added = weights * (right - means @ indicator) + means.mean(axis=-1, keepdims=True)
    return added.astype(np.float32)


def of_complete_seeds(evidence: Evidence) -> Correctness:
    """Correctness of the finished runs of a study, per seed; incomplete seeds are left out."""
    design = table_of(evidence.design)
    runs = {(record.settings.seed, record.number): record for record in evidence.finished}
    seeds = [
        seed
        for seed in sorted(evidence.design.seeds)
        if all((seed, number) in runs for number in design["number"])
    ]
    right, names = [], []
    for seed in seeds:
        own = [runs[seed, number] for number in design["number"]]
        right.append(np.stack([by_image(evidence, record) for record in own]))
        names.append(tuple(evidence.predictions(own[0]).sort_index().index))
    return Correctness(design, seeds, right, [names.index(own) for own in names])


def table_of(study: Study) -> pd.DataFrame:
    """One row per configuration: number, words, and the level of each factor."""
    return pd.DataFrame(
        {"number": settings.number, "words": configuration(settings.levels)}
        | {name: cell(name, level) for name, level in settings.levels.items()}
        for settings in study.configurations()
    )


def without_training(
    evidence: Evidence, correctness: Correctness, records: Sequence[AnyRecord]
) -> dict[int, np.ndarray]:
    """Correctness of models without fine-tuning, per seed, on the images of that seed's runs."""
    return {
        record.settings.seed: by_image(evidence, record)
        for record in records
        if record.settings.seed in correctness.seeds
    }


def validation_shares(evidence: Evidence, correctness: Correctness) -> list[np.ndarray]:
    """Per seed, the contribution of each validation image to the mean score of the runs, 0..1."""
    tables: dict[int, list[np.ndarray]] = {seed: [] for seed in correctness.seeds}
    for record in evidence.finished:
        if record.settings.seed in tables:
            tables[record.settings.seed].append(by_image(evidence, record, "validation"))
    return [np.mean(part, axis=0, dtype=float) for part in tables.values()]


def chosen_on_validation(evidence: Evidence, correctness: Correctness) -> np.ndarray:
    """Per complete seed, the index of the configuration with the best validation accuracy."""
    table = evidence.runs.pivot(index="seed", columns="number", values="validation")
    return table.loc[correctness.seeds, correctness.design["number"]].to_numpy().argmax(axis=1)
