"""What freezing saves and what it risks, and the depth that follows from a stated rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

import pandas as pd
from scipy import stats

from effnet_report.evidence.correctness import correctness
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import contrasts, decisive
from effnet_report.inference.seeds_and_images import LEVEL, Estimate, spread
from effnet_report.numbers import number

COSTS = {"time": "cpu_seconds", "memory": "memory_mb"}


@dataclass(frozen=True)
class Depth:
    """One number of frozen stages against none.

    Attributes:
        change: of accuracy, points; its interval holds for all depths at once.
        time: CPU time of a training saved, per cent.
        memory: peak memory of a run saved, per cent.
    """

    freeze: int
    change: Estimate
    time: Estimate
    memory: Estimate


@cache
def depths(evidence: Evidence) -> list[Depth]:
    """Every depth against none; empty before a seed has a run of every configuration."""
    return [
        Depth(n, change, *(contrasts.saving(evidence, cost, n) for cost in COSTS.values()))
        for n, change in decisive.depths_of(evidence).changes.items()
    ]


def table(evidence: Evidence) -> pd.DataFrame:
    """The same as numbers: freeze, then effect, low and high of change, time and memory."""
    rows = []
    for depth in depths(evidence):
        row: dict[str, float] = {"freeze": depth.freeze}
        for name in ("change", *COSTS):
            estimate = getattr(depth, name)
            row[name] = estimate.effect
            row |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def recommended(evidence: Evidence) -> Depth | None:
    """The depth that `rule` picks, if there is an interval to pick by."""
    nearest = decisive.depths_of(evidence).nearest
    return next((depth for depth in depths(evidence) if depth.freeze == nearest), None)


def rule(evidence: Evidence) -> str:
    """How the depth is picked, in words, and which part of the rule picked it."""
    margin, by_depth = number(evidence.design.smallest_effect), decisive.depths_of(evidence)
    used = "Here the first part decides."
    if not by_depth.deepest_noninferior:
        used = "Here none does." if by_depth.nearest else "Here there are no intervals."
    return (
        f"The rule: the deepest freeze whose interval excludes a loss of {margin} points, the "
        "smallest effect of interest; if none does, the one whose largest possible loss is "
        f"smallest. {used}"
    )


def sentences(evidence: Evidence) -> list[str]:
    """What to do, and what the study is too small for: that first where it is too small for all."""
    said = [too_small(evidence), sentence(evidence)]
    if decisive.depths_of(evidence).deepest_noninferior:
        said.reverse()
    return [text for text in said if text]


def sentence(evidence: Evidence) -> str:
    """What to do, what it saves and what it risks."""
    depth = recommended(evidence)
    if depth is None:
        return "No depth can be recommended: there is no interval to choose by."
    return (
        f"Freezing {depth.freeze} of {stage_count(evidence)} stages {_saves(depth.time)}; it "
        f"{_risk(depth.change)}, with 95 % confidence (best estimate of the change: "
        f"{number(depth.change.effect, sign=True)})."
    )


def stage_count(evidence: Evidence) -> int:
    """Stages of the network, its stem and final convolution aside."""
    return len(evidence.facts.stages) - 2 if evidence.facts else 0


def too_small(evidence: Evidence) -> str:
    """What the study cannot show, where its intervals are wider than the smallest effect."""
    found, margin = correctness(evidence), number(evidence.design.smallest_effect)
    changes = decisive.depths_of(evidence).changes
    if not changes:
        return ""
    if len(found.seeds) == 1:
        compared = contrasts.analysis(evidence)
        weights = contrasts.depth_weights(found.design, max(changes))
        images = spread(compared.differences(weights), found.test_sets).images
        alone = number(float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(images))
        return (
            "This study is too small for an answer: one seed cannot say how much trainings differ, "
            f"and even if all agreed, {found.images:,} test images could not show a change of less "
            f"than about {alone} points."
        )
    reach = median((change.high - change.low) / 2 for change in changes.values())
    limit = -evidence.design.smallest_effect
    unsure = [n for n, change in changes.items() if change.low <= limit < change.high]
    if reach <= -limit or not unsure:
        return ""
    freeze = f"freeze {_any_of(unsure)}" if len(unsure) < len(changes) else "a freeze"
    return (
        f"This study is too small to show that {freeze} loses less than {margin} points: with "
        f"{len(found.seeds)} seeds and {found.images:,} test images, its intervals reach "
        f"{number(reach)} points to either side."
    )


def _any_of(depths: Sequence[int]) -> str:
    *first, last = map(str, depths)
    return f"{', '.join(first)} or {last}" if first else last


def _saves(time: Estimate) -> str:
    if time.effect < 0:
        return f"takes {number(-time.effect, 0)} % more training time"
    return f"saves {number(time.effect, 0)} % of the training time"


def _risk(change: Estimate) -> str:
    if change.low >= 0:
        return f"gains at least {number(change.low)} points of accuracy on images of this kind"
    return f"costs at most {number(-change.low)} points of accuracy on images of this kind"
