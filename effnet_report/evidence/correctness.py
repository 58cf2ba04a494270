"""Which configuration was right on which test image: what every comparison rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from effnet_core.study.design import Study, cell
from effnet_core.study.schema import AnyRecord
from effnet_report.evidence.choice import DIGITS
from effnet_report.evidence.evidence import Evidence
from effnet_report.words import configuration


@dataclass(frozen=True, eq=False)
class Correctness:
    """The seeds that have a run of every configuration.

    Attributes:
        design: one row a configuration: number, words (all levels), and the level of each factor.
        seeds: in rising order.
        right: by seed, shape (configurations, test images of the seed), bool.
        test_sets: by seed, which test set it was judged on; seeds with the same number share
            their images, in the same order.
    """

    design: pd.DataFrame
    seeds: list[int]
    right: list[np.ndarray]
    test_sets: list[int]

    @property
    def folds(self) -> bool:
        """Whether seeds were judged on different images."""
        return len(set(self.test_sets)) > 1

    @property
    def images(self) -> int:
        """Number of different test images."""
        sizes = {k: part.shape[1] for k, part in zip(self.test_sets, self.right, strict=True)}
        return sum(sizes.values())

    @property
    def accuracies(self) -> np.ndarray:
        """Per cent, shape (seeds, configurations)."""
        means = [100 * part.mean(axis=1) for part in self.right]
        return np.reshape(means, (len(self.seeds), len(self.design)))


def by_image(evidence: Evidence, record: AnyRecord, part: str = "test") -> pd.Series:
    """Whether a model was right, by name of the image, sorted."""
    table = evidence.predictions(record, part)
    return (table["label"] == table["predicted"]).sort_index()


def of_complete_seeds(evidence: Evidence) -> Correctness:
    """What the finished runs of a study got right, seed by seed; incomplete seeds are left out."""
    design = table_of(evidence.design)
    runs = {(record.settings.seed, record.number): record for record in evidence.finished}
    seeds = [
        seed
        for seed in sorted(evidence.design.seeds)
        if all((seed, number) in runs for number in design["number"])
    ]
    right, names = [], []
    for seed in seeds:
        columns = [by_image(evidence, runs[seed, number]) for number in design["number"]]
        right.append(np.stack([column.to_numpy(dtype=bool) for column in columns]))
        names.append(tuple(columns[0].index))
    return Correctness(design, seeds, right, [names.index(own) for own in names])


def table_of(study: Study) -> pd.DataFrame:
    """One row a configuration: number, words, and the level of each factor."""
    return pd.DataFrame(
        {"number": settings.number, "words": configuration(settings.levels)}
        | {name: cell(level) for name, level in settings.levels.items()}
        for settings in study.configurations()
    )


def without_training(
    evidence: Evidence, found: Correctness, records: Sequence[AnyRecord]
) -> dict[int, np.ndarray]:
    """What models without fine-tuning got right, by seed, on the images of that seed's runs."""
    return {
        record.settings.seed: by_image(evidence, record).to_numpy(dtype=bool)
        for record in records
        if record.settings.seed in found.seeds
    }


def validation_shares(evidence: Evidence, found: Correctness) -> list[np.ndarray]:
    """By seed, how often each of its validation images was right at the best epochs, 0..1."""
    tables: dict[int, list[pd.Series]] = {seed: [] for seed in found.seeds}
    for record in evidence.finished:
        if record.settings.seed in tables:
            tables[record.settings.seed].append(by_image(evidence, record, "validation"))
    return [np.mean([t.to_numpy(dtype=float) for t in part], axis=0) for part in tables.values()]


def chosen_on_validation(
    evidence: Evidence, found: Correctness, *, each_seed: bool = True
) -> np.ndarray:
    """By seed, the place of the configuration with the best validation accuracy.

    Args:
        evidence: a study.
        found: its complete seeds.
        each_seed: each seed's own; else the one with the best mean over the seeds.
    """
    table = evidence.runs.pivot(index="seed", columns="number", values="validation_accuracy")
    accuracy = table.loc[found.seeds, found.design["number"]].to_numpy()
    if not each_seed:
        accuracy = np.broadcast_to(accuracy.mean(axis=0).round(DIGITS), accuracy.shape)
    return accuracy.argmax(axis=1)
