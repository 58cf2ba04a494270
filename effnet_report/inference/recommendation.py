"""What freezing saves and what it risks, and the depth that follows from a stated rule."""

import math
from dataclasses import dataclass
from statistics import median

import pandas as pd
from scipy import stats

from effnet_report.inference import contrasts
from effnet_report.inference.decisive import Noninferiority
from effnet_report.inference.seeds_and_images import LEVEL, Estimate, Estimator, spread
from effnet_report.numbers import number
from effnet_report.words import joined

# Columns of `Evidence.runs` by what they cost.
COSTS = {"time": "epoch_seconds", "memory": "memory_mb"}
WORTH = 1.0  # per cent of the time per epoch that a depth has to save, unless accuracy rises


@dataclass(frozen=True)
class Depth:
    """One number of frozen stages against none.

    Attributes:
        change: of accuracy, points; its interval holds for all depths at once.
        time: CPU time of one epoch saved, per cent: how long runs train is no part of it.
        memory: peak memory of a run saved, per cent.
    """

    freeze: int
    change: Estimate
    time: Estimate
    memory: Estimate


@dataclass(frozen=True)
class Recommendation:
    """The depth that a rule picks, and the sentences about it.

    Attributes:
        depths: what the rule picks from.
        noninferiority: how deep one can freeze.
        margin: smallest effect of interest, points of accuracy.
        stages: of the network, its stem and final convolution aside.
        estimator: of the study that the depths come from.
        metric: what the study's quality is called.
    """

    depths: list[Depth]
    noninferiority: Noninferiority
    margin: float
    stages: int
    estimator: Estimator
    metric: str = "accuracy"

    @property
    def table(self) -> pd.DataFrame:
        """The depths as numbers: freeze, then effect, low and high of change, time and memory."""
        rows = []
        for depth in self.depths:
            row: dict[str, float] = {"freeze": depth.freeze}
            for name in ("change", *COSTS):
                estimate = getattr(depth, name)
                row[name] = estimate.effect
                row |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def depth(self) -> Depth | None:
        """The depth that `rule` picks; None where it freezes nothing, or has no intervals."""
        safe = self.safe
        if safe and safe.time.effect < WORTH and safe.change.low <= 0:
            return None
        return safe

    @property
    def safe(self) -> Depth | None:
        """The deepest one whose interval excludes a loss of the margin."""
        return self._at(self.noninferiority.deepest_noninferior)

    @property
    def nearest(self) -> Depth | None:
        """The depth whose largest possible loss is smallest, if there is an interval to say so."""
        return self._at(self.noninferiority.nearest)

    def _at(self, freeze: int) -> Depth | None:
        return next((depth for depth in self.depths if depth.freeze == freeze), None)

    @property
    def rule(self) -> str:
        """How the depth is picked, in words, and what the rule picked here."""
        picked = "no depth passes" if self.nearest else "there are no intervals yet"
        if self.safe:
            picked = f"freeze {self.safe.freeze} passes, but saves no time"
        if self.depth:
            picked = f"the rule takes freeze {self.depth.freeze}"
        return (
            "The rule recommends the largest number of frozen stages whose interval excludes a "
            f"loss of {number(self.margin)} points; if there is none, or if it saves less than "
            f"{number(WORTH, 0)} % of the time and does not clearly raise {self.metric}, it "
            f"recommends freezing nothing. Here, {picked}."
        )

    @property
    def sentences(self) -> list[str]:
        """What to do, and what the study is too small for; first the one that holds for more."""
        sentences = [self.too_small, self.sentence]
        if self.noninferiority.deepest_noninferior:
            sentences.reverse()
        return [text for text in sentences if text]

    @property
    def sentence(self) -> str:
        """What to do, what it saves and what it risks."""
        depth = self.depth or self.nearest
        if depth is None:
            return "No depth can be recommended: there is no interval to choose by."
        change = depth.change
        does = (
            f"{_saves(depth.time)} and {_changes(change, self.metric)} "
            f"(95 % CI {number(change.low)} to {number(change.high)})."
        )
        if self.depth:
            return f"Freeze {depth.freeze} of {self.stages} stages: this {does}"
        if self.safe:
            return f"Freeze nothing: freezing {depth.freeze} of {self.stages} stages {does}"
        return (
            f"Freeze nothing: no depth is shown to lose less than {number(self.margin)} points. "
            f"Freezing {depth.freeze} of {self.stages} stages {does}"
        )

    @property
    def too_small(self) -> str:
        """What the study cannot show, where its intervals are wider than the smallest effect."""
        changes = self.noninferiority.changes
        if not changes:
            return ""
        if self.estimator.seeds == 1:
            return self._one_seed(max(changes))
        reach = median((change.high - change.low) / 2 for change in changes.values())
        limit = -self.margin
        unsure = [n for n, change in changes.items() if change.low <= limit < change.high]
        if reach <= self.margin or not unsure:
            return ""
        every = len(unsure) == len(changes)
        depths = "At every depth," if every else f"With {joined(unsure, 'or')} frozen stages"
        return (
            f"{depths} we cannot rule out a loss above {number(self.margin)} points: with "
            f"{self.estimator.seeds} seeds and {self.estimator.correctness.images:,} test images, "
            f"the intervals reach {number(reach)} points to either side."
        )

    def _one_seed(self, deepest: int) -> str:
        """What one seed's images alone could not show."""
        complete = self.estimator.correctness
        weights = contrasts.level_weights(complete.design, "freeze", deepest, 0)
        images = spread(self.estimator.differences(weights), complete.test_sets).images
        alone = number(float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(images))
        return (
            "This study is too small for an answer: one seed cannot say how much trainings "
            f"differ, and {complete.images:,} test images alone leave about {alone} points of "
            "uncertainty."
        )


def _saves(time: Estimate) -> str:
    if number(time.effect, 0) == "0":
        return "takes as much training time per epoch"
    if time.effect < 0:
        return f"takes {number(-time.effect, 0)} % more training time per epoch"
    return f"saves {number(time.effect, 0)} % of the training time per epoch"


def _changes(change: Estimate, metric: str) -> str:
    if change.low <= 0 <= change.high:
        return f"changes {metric} by {number(change.effect, sign=True)} points"
    verb = "raises" if change.effect >= 0 else "lowers"
    return f"{verb} {metric} by {number(abs(change.effect))} points"
