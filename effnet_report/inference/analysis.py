"""Everything that follows from what one study left: each part is computed once, when asked for."""

from collections.abc import Sequence
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from effnet_core import files, paths
from effnet_core.study.schema import ClassicalRecord
from effnet_report.evidence import correctness, evidence, source
from effnet_report.evidence.correctness import Correctness
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import claims, comparison, contrasts, decisive, power
from effnet_report.inference.claims import Judgement
from effnet_report.inference.contrasts import Differences
from effnet_report.inference.decisive import Noninferiority
from effnet_report.inference.power import Components
from effnet_report.inference.recommendation import COSTS, Depth, Recommendation
from effnet_report.inference.seeds_and_images import Estimate, Estimator, unknown


class Analysis:
    """What can be inferred from a study. A page takes one and reads what it shows.

    Attributes:
        evidence: the study's design and records.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @property
    def margin(self) -> float:
        """Smallest effect of interest, points of accuracy."""
        return self.evidence.design.smallest_effect

    @cached_property
    def correctness(self) -> Correctness:
        """Which configuration was right on which test image, for complete seeds."""
        return correctness.of_complete_seeds(self.evidence)

    @cached_property
    def estimator(self) -> Estimator:
        """The estimator of contrasts between configurations."""
        return Estimator(self.correctness)

    @cached_property
    def effects(self) -> dict[str, Estimate]:
        """What each choice changes, by the choice in words; the intervals hold all at once."""
        return contrasts.all_choices(self.estimator)

    @cached_property
    def noninferiority(self) -> Noninferiority:
        """How deep one can freeze without losing accuracy."""
        return decisive.noninferiority(self.estimator, self.margin)

    def simple_effects(self, factor: str, at: str) -> dict[tuple[Any, Any], Estimate]:
        """The effect of a factor at each level of another, all at once; see `contrasts`."""
        return contrasts.simple_effects(self.estimator, factor, at)

    @cached_property
    def rival(self) -> Sequence[ClassicalRecord]:
        """The models that fine-tuning is compared with, one per seed.

        Of the baseline and the best classical models, those that are better on validation images.
        """
        criterion = self.evidence.design.protocol.criterion

        def validated(records: Sequence[ClassicalRecord]) -> float:
            return fmean(record.outcome.validation.score(criterion) for record in records)

        return max(self.evidence.classical.values(), key=validated, default=())

    @cached_property
    def over_classical(self) -> Estimate:
        """Fine-tuned minus its rival; each seed chooses its own configuration on validation."""
        if self.against_classical is None:
            return unknown("a seed lacks its fine-tuned models, or the one without fine-tuning")
        return contrasts.chosen_minus_other(self.estimator, *self.against_classical)

    @cached_property
    def against_classical(self) -> tuple[Differences, Differences] | None:
        """By seed and image, the chosen configuration, and all on average, minus the rival.

        Each seed takes the configuration with its own best validation accuracy. The lead of one
        that is best on average over the seeds would carry the luck of these trainings.
        """
        ours = self.correctness
        theirs = correctness.without_training(self.evidence, ours, self.rival)
        if not ours.seeds or set(theirs) != set(ours.seeds):
            return None
        chosen = correctness.chosen_on_validation(self.evidence, ours)
        rows = [
            (100.0 * right, 100.0 * theirs[seed], index)
            for right, seed, index in zip(ours.right, ours.seeds, chosen, strict=True)
        ]
        return (
            [right[index] - other for right, other, index in rows],
            [right.mean(axis=0) - other for right, other, _ in rows],
        )

    @cached_property
    def optimism(self) -> Estimate:
        """Validation accuracy at the best epoch minus test accuracy: the mean over the runs."""
        if all(run.select == "last" for run in self.evidence.design.runs()):
            return unknown("no epoch is chosen: each run keeps its last one")
        if not self.correctness.seeds:
            return unknown("no seed has a run of every configuration yet")
        shares = correctness.validation_shares(self.evidence, self.correctness)
        return contrasts.validation_minus_test(self.estimator, [100 * share for share in shares])

    def saving(self, cost: str, freeze: int) -> Estimate:
        """How much of a cost a depth saves against freezing nothing, per cent.

        Args:
            cost: column of `Evidence.runs`, above zero.
            freeze: frozen stages.
        """
        complete = self.correctness
        tried = set(contrasts.levels(complete.design, "freeze"))
        if not complete.seeds or freeze == 0 or not {0, freeze} <= tried:
            return unknown("there is nothing to compare")
        table = self.evidence.runs.pivot(index="seed", columns="number", values=cost)
        logs = np.log(table.loc[complete.seeds, complete.design["number"]].to_numpy(dtype=float))
        return contrasts.saved(logs, complete.design, freeze)

    @cached_property
    def depths(self) -> list[Depth]:
        """Every depth against none; without a complete seed, nothing is known of any."""
        return [
            Depth(freeze, change, *(self.saving(cost, freeze) for cost in COSTS.values()))
            for freeze, change in self.noninferiority.changes.items()
        ]

    @cached_property
    def recommendation(self) -> Recommendation:
        """The depth that a stated rule picks, and its sentences."""
        facts = self.evidence.facts
        stages = len(facts.stages) - 2 if facts else 0  # beside the stem and the final convolution
        return Recommendation(
            self.depths,
            self.noninferiority,
            self.margin,
            stages,
            self.estimator,
            self.evidence.metric,
        )

    @cached_property
    def claims(self) -> list[Judgement]:
        """The verdict on each conclusion, from accuracies on the test set."""
        deepest = self.noninferiority.deepest_noninferior
        estimates = {
            "classical": self.over_classical,
            "optimism": self.optimism,
        }
        for key, cost in COSTS.items():
            estimates[key] = (
                self.saving(cost, deepest)
                if deepest
                else unknown(f"no freeze is shown to keep the {self.evidence.metric}")
            )
        return claims.judge(self.estimator, estimates, self.margin, self.evidence.metric)

    @cached_property
    def judgement(self) -> dict[str, Judgement]:
        """The same by key: of `claims.CLAIMS`, or a factor."""
        return {judgement.key: judgement for judgement in self.claims}

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """The models to compare, see `comparison.models`."""
        return comparison.models(self.evidence, self.correctness)

    @cached_property
    def components(self) -> dict[str, Components]:
        """Variance components of the comparisons, see `power`."""
        return power.measured(self.estimator, self.against_classical)


def load(reference: str | None = None) -> Analysis:
    """The analysis of a study; by default of the main study of the book.

    Raises:
        InputError: there is no such study.
    """
    return Analysis(evidence.load(reference))


def others() -> list[Analysis]:
    """The book's studies beside the main one, as far as anything of them is here."""
    return [Analysis(study) for study in evidence.others()]


def save_claims(reference: str) -> None:
    """Write the verdicts on a study beside its records.

    Raises:
        InputError: no such study, or its folder cannot be written.
    """
    judged = load(reference).claims
    files.write(paths.records(reference) / "claims.json", claims.as_json(judged))


def save_claims_of_source() -> None:
    """Write the verdicts on the source's tables, which are those of no study.

    Raises:
        InputError: the folder cannot be written.
    """
    files.write(source.CLAIMS, claims.as_json(claims.of_source()))
