"""How the report says what a comparison has shown. No number here is a result."""

import math
from dataclasses import dataclass

from effnet_report.inference.seeds_and_images import Estimate
from effnet_report.numbers import number
from effnet_report.words import joined

# By claim, then by outcome: {by} is the size of a clear effect, {span} effect and interval.
WORDS = {
    "first": {
        "better": "Configuration 1 is the best ({span}).",
        "worse": "Another configuration beats configuration 1 ({span}).",
        "level": "Configuration 1 leads by less than {margin} points ({span}).",
        "open": "We cannot tell whether configuration 1 is the best ({span}).",
    },
    "classical": {
        "better": "Fine-tuning beats the best model without it by {by}.",
        "worse": "The best model without fine-tuning beats fine-tuning by {by}.",
        "level": (
            "Fine-tuning beats the best model without it by less than {margin} points, if at all "
            "({span})."
        ),
        "open": "We cannot tell whether fine-tuning beats the best model without it ({span}).",
    },
    "freeze": {
        "better": (
            "From the fewest to the most frozen stages, {accuracy} rises by {by} along a straight "
            "line."
        ),
        "worse": (
            "From the fewest to the most frozen stages, {accuracy} falls by {by} along a straight "
            "line."
        ),
        "level": (
            "Freezing more stages raises {accuracy} by less than {margin} points, if at all "
            "({span})."
        ),
        "open": "We cannot tell whether freezing more stages raises {accuracy} ({span}).",
    },
    "head": {
        "better": "A deeper head raises {accuracy} by {by}.",
        "worse": "A deeper head lowers {accuracy} by {by}.",
        "level": (
            "A deeper head raises {accuracy} by less than {margin} points, if at all ({span})."
        ),
        "open": "We cannot tell whether a deeper head raises {accuracy} ({span}).",
    },
    "scheduler": {
        "better": "The cosine schedule beats plateau by {by}.",
        "worse": "The plateau schedule beats cosine by {by}.",
        "level": (
            "The cosine schedule beats plateau by less than {margin} points, if at all ({span})."
        ),
        "open": "We cannot tell whether cosine or plateau is better ({span}).",
    },
    "depth": {
        "better": (
            "With {deepest} of the stages frozen, a loss above {margin} points is ruled out "
            "({span}).{lost}"
        ),
        "worse": "Every depth costs more than {margin} points; the best of them loses {by}.",
        "open": "A loss above {margin} points cannot be ruled out at any depth ({span}).{lost}",
    },
    "time": {
        "better": "With {deepest} of the stages frozen, an epoch takes {by} less training time.",
        "worse": "With {deepest} of the stages frozen, an epoch takes {by} more training time.",
        "open": (
            "We cannot tell how much training time freezing saves without losing {accuracy} "
            "({span})."
        ),
    },
    "memory": {
        "better": "With {deepest} of the stages frozen, a run takes {by} less memory.",
        "worse": "With {deepest} of the stages frozen, a run takes {by} more memory.",
        "open": "We cannot tell how much memory freezing saves without losing {accuracy} ({span}).",
    },
    "optimism": {
        "better": "Validation {accuracy} at the best epoch is too high by {by}.",
        "worse": "Validation {accuracy} at the best epoch is below test {accuracy} by {by}.",
        "level": (
            "Validation {accuracy} at the best epoch is less than {margin} points too high "
            "({span})."
        ),
        "open": (
            "We cannot tell whether validation {accuracy} at the best epoch is too high ({span})."
        ),
    },
}
WORDS["reference"] = WORDS["first"]
# Of any other factor; {change} is as in `learning rate 3e-4 instead of 1e-4`.
OF_A_FACTOR = {
    "better": "With {change}, {accuracy} rises by {by}.",
    "worse": "With {change}, {accuracy} falls by {by}.",
    "level": "With {change}, {accuracy} rises by less than {margin} points, if at all ({effect}).",
    "open": "We cannot tell whether {accuracy} rises with {change} ({effect}).",
}


@dataclass(frozen=True)
class Words:
    """What a sentence may need.

    A clear effect is named by its size, whatever its sign: the words around it say who is
    better. An unclear one is named with its sign and with what was subtracted from what.

    Attributes:
        measured: the effect in words.
        margin: smallest effect of interest, points of accuracy.
        deepest_noninferior: the deepest freeze that keeps the accuracy, or 0.
        lost: the freezes that lose more than the margin.
        accuracy: what the study's quality is called.
    """

    estimate: Estimate
    unit: str
    measured: str
    margin: float
    deepest_noninferior: int
    lost: list[int]
    accuracy: str = "accuracy"

    def fill(self, template: str) -> str:
        span = effect = effect_with_interval(self.estimate, self.unit, margin=self.margin)
        if not math.isnan(self.estimate.effect):
            span = f"{self.measured}: {effect}"
        larger = ""
        if self.lost:
            depths = joined(self.lost, "or")
            larger = f" With {depths} of the stages frozen, the loss is larger than that."
        return template.format(
            accuracy=self.accuracy,
            change=self.measured,
            by=size(self.estimate, self.unit, self.margin),
            span=span,
            effect=effect,
            margin=number(self.margin),
            deepest=self.deepest_noninferior,
            lost=larger,
        )


def size(estimate: Estimate, unit: str = "points", margin: float = 0.0) -> str:
    """A clear effect without its sign, as in `6.4 points (95 % CI 3.5 to 9.4)`."""
    bounds = sorted(abs(bound) for bound in (estimate.low, estimate.high))
    low, high = (_bound(bound, margin) for bound in bounds)
    return f"{number(abs(estimate.effect))} {unit} (95 % CI {low} to {high})"


def effect_with_interval(
    estimate: Estimate, unit: str = "points", kind: str = "CI", margin: float = 0.0
) -> str:
    """An effect with its sign and interval, as in `-0.3 points, 95 % CI -0.9 to 0.3`."""
    if math.isnan(estimate.effect):
        return estimate.method
    effect = f"{number(estimate.effect)} {unit}"
    if math.isnan(estimate.low):
        return f"{effect}; {estimate.method}"
    low, high = (_bound(bound, margin) for bound in (estimate.low, estimate.high))
    return f"{effect}, 95 % {kind} {low} to {high}"


def _bound(value: float, margin: float) -> str:
    """With two decimals where one would hide on which side of zero or of the margin it lies."""
    hidden = abs(round(value, 1)) in (0.0, round(margin, 1))
    return number(value, 2 if hidden else 1)
