"""What a study advises: the recipe, how accurate it is, what it saves and what it misses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from effnet_report.inference import contrasts
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.recommendation import Depth
from effnet_report.inference.seeds_and_images import Estimate, Family
from effnet_report.words import cell

EITHER = "either"
NOTHING: Mapping[str, object] = {}  # no restriction
FEWEST = 3  # seeds that show how much trainings differ


@dataclass(frozen=True)
class Advice:
    """The recommended number of frozen stages, and what else to choose.

    Attributes:
        freeze: what the rule picks; 0 where no depth is shown to lose less than the margin.
        depth: the same compared with freezing nothing; of 0, the depth that may lose least.
        accuracy: on test images, per cent, over the configurations with this depth and choices.
        best: the depth with the highest mean accuracy.
        behind_best: the recommended depth minus that one, points.
        on_validation: the depth that validation images alone would choose.
        p: of the claim that stages can be frozen without a loss, after Holm's correction.
        missed: share of the test images of each class to which these configurations give another
            class, per cent.
        choices: by setting that the study compares beside the depth, the level to take, or
            `EITHER` where the data do not tell.
        metric: what the study's quality is called.
        margin: the study's smallest effect of interest, points.
    """

    freeze: int
    depth: Depth
    accuracy: Estimate
    best: int
    behind_best: Estimate
    on_validation: int
    p: float
    missed: dict[str, float]
    choices: dict[str, object]
    metric: str
    margin: float


def advise(study: Analysis) -> Advice | None:
    """The advice of a study; None where no interval can choose a depth."""
    picked = study.recommendation.depth
    depth = picked or study.recommendation.nearest
    if depth is None:
        return None
    freeze = picked.freeze if picked else 0
    choices = dict(_choices(study, freeze))
    decided = {name: level for name, level in choices.items() if level != EITHER}
    means = complete(study).groupby("freeze")[["accuracy", "validation"]].mean()
    best = int(means["accuracy"].idxmax())
    return Advice(
        freeze=freeze,
        depth=depth,
        accuracy=accuracy(study, freeze, decided),
        best=best,
        behind_best=_behind(study, freeze, best),
        on_validation=int(means["validation"].idxmax()),
        p=study.judgement["depth"].adjusted_p,
        missed=missed(study, freeze, decided),
        choices=choices,
        metric=study.evidence.metric,
        margin=study.margin,
    )


def complete(study: Analysis) -> pd.DataFrame:
    """The runs of the seeds that have all of them; those of a part of a seed favour some depths."""
    runs = study.evidence.runs
    return runs[runs["seed"].isin(study.correctness.seeds)]


def accuracy(study: Analysis, freeze: int, levels: Mapping[str, object] = NOTHING) -> Estimate:
    """Mean test accuracy at a depth, per cent, for other trainings and other images.

    Args:
        study: the study.
        freeze: the depth.
        levels: of other factors, to which the mean is restricted.

    Of fewer seeds than `FEWEST`, the interval is for other images only: two trainings do not show
    how much trainings differ.
    """
    compared = study.estimator
    wanted = {"freeze": freeze, **levels}
    at = np.all([compared.design[name] == level for name, level in wanted.items()], axis=0)
    correct = [100 * part[at].mean(axis=0) for part in study.correctness.right]
    between_seeds = compared.between(correct).times(1 / compared.seeds)
    family = between_seeds if compared.seeds >= FEWEST else Family(0.0, 0.0, math.inf)
    estimate = compared.of_differences(correct, family)
    low, high = np.clip([estimate.low, estimate.high], 0, 100)  # of few seeds it may reach further
    return replace(estimate, low=float(low), high=float(high))


def _behind(study: Analysis, freeze: int, best: int) -> Estimate:
    """The recommended depth minus the best one, points.

    Where nothing is to be frozen, the interval is that of all depths at once, as everywhere else.
    """
    change = study.noninferiority.changes.get(best)
    if freeze or change is None:
        return between(study, freeze, best)
    return replace(change, effect=-change.effect, low=-change.high, high=-change.low)


def between(study: Analysis, freeze: int, other: int) -> Estimate:
    """One depth minus another, points."""
    compared = study.estimator
    weights = contrasts.level_weights(compared.design, "freeze", freeze, other)
    return compared.estimate(weights, compared.family("freeze"))


def missed(
    study: Analysis, freeze: int, levels: Mapping[str, object] = NOTHING
) -> dict[str, float]:
    """By class, the share of its test images that runs at a depth give another class, per cent.

    Args:
        study: the study.
        freeze: the depth.
        levels: of other factors, to which the runs are restricted.
    """
    evidence, wanted = study.evidence, {"freeze": freeze, **levels}
    runs = [
        record
        for record in evidence.finished
        if record.settings.seed in study.correctness.seeds
        and all(cell(name, record.settings.levels[name]) == wanted[name] for name in wanted)
    ]
    tables = pd.concat(evidence.predictions(record) for record in runs)
    wrong = 100 * (tables["label"] != tables["predicted"]).groupby(tables["label"]).mean()
    return {evidence.best[0].facts.classes[label]: float(share) for label, share in wrong.items()}


def saved_without_keeping(study: Analysis, freeze: int) -> float:
    """Share of a training step's arithmetic that freezing saves without kept activations, %.

    A frozen stage is still computed forward; what it saves is its gradients, which cost twice as
    much as the forward pass.
    """
    facts = study.evidence.facts
    frozen = sum(stage.flop_share for stage in facts.stages[: freeze + 1]) if facts else 0.0
    return 100 * 2 * frozen / 3 if freeze else 0.0


def _choices(study: Analysis, freeze: int) -> dict[str, object]:
    """The level of every other factor: clearly better, either of two, or best on validation."""
    compared, runs = study.estimator, complete(study)
    at_depth = runs[runs["freeze"] == freeze]
    chosen: dict[str, object] = {}
    for factor in (name for name in contrasts.varied(compared) if name != "freeze"):
        first, *others = contrasts.levels(compared.design, factor)
        effects = contrasts.levels_at_once(compared, factor)
        better = [level for level, effect in effects.items() if effect.low > 0]
        if better:
            chosen[factor] = max(better, key=lambda level: effects[level].low)
        elif all(effect.high < 0 for effect in effects.values()):
            chosen[factor] = first
        elif len(others) == 1:
            chosen[factor] = EITHER
        else:
            chosen[factor] = at_depth.groupby(factor)["validation"].mean().idxmax()
    return chosen
