"""The source's conclusions as claims, each with the comparison that decides it.

A claim is judged from an effect with a 95 % interval, on any table of configurations: the
one the source published, or ours. The words of the report follow from the verdicts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from effnet_core.report import published, statistics
from effnet_core.report.evidence import Evidence
from effnet_core.report.statistics import Estimate

Verdict = Literal["supported", "contradicted", "not resolved"]

# Percentage points. A smaller gain would not change what anyone does.
SMALLEST_GAIN = 0.5


@dataclass(frozen=True)
class Claim:
    """A conclusion of the source.

    Attributes:
        statement: the source's conclusion.
        effect: what is measured, in percentage points of accuracy.
        judge: from the estimate of that effect to a verdict.
        sentences: how the report says each verdict.
        worse: said when the effect is clearly negative and "no gain" would be too mild.
    """

    statement: str
    effect: str
    judge: Callable[[Estimate], Verdict]
    sentences: dict[Verdict, str]
    worse: str = ""


@dataclass(frozen=True)
class Judgement:
    """A claim, evaluated on some data."""

    claim: Claim
    estimate: Estimate

    @property
    def verdict(self) -> Verdict:
        return self.claim.judge(self.estimate)

    @property
    def sentence(self) -> str:
        if self.claim.worse and self.estimate.high < 0:
            return self.claim.worse
        return self.claim.sentences[self.verdict]


def gain(estimate: Estimate) -> Verdict:
    """Verdict on "this is better": the whole interval lies on one side of zero."""
    if estimate.low > 0:
        return "supported"
    return "contradicted" if estimate.high < 0 else "not resolved"


def no_gain(estimate: Estimate) -> Verdict:
    """Verdict on "this is no better": no gain that matters is left in the interval.

    Contradicted when the whole interval lies above zero.
    """
    if estimate.low > 0:
        return "contradicted"
    return "supported" if estimate.high < SMALLEST_GAIN else "not resolved"


CLAIMS = {
    "first": Claim(
        "Configuration 1 (nothing frozen, no extra layers, plateau) is the best.",
        "configuration 1 minus the best of the others",
        gain,
        {
            "supported": "Configuration 1 is the best.",
            "contradicted": "Configuration 1 is not the best.",
            "not resolved": "Whether configuration 1 is the best can not be told.",
        },
    ),
    "classical": Claim(
        "Fine-tuning beats classical machine learning and the baseline.",
        "best fine-tuned model minus the best model without fine-tuning",
        gain,
        {
            "supported": "Fine-tuning beats the best classical model.",
            "contradicted": "The best classical model beats fine-tuning.",
            "not resolved": "Whether fine-tuning beats the best classical model can not be told.",
        },
    ),
    "freeze": Claim(
        "Freezing more stages does not improve quality.",
        "deepest freeze minus none, along a straight line",
        no_gain,
        {
            "supported": "Freezing more stages does not improve accuracy.",
            "contradicted": "Freezing more stages improves accuracy.",
            "not resolved": "Whether freezing more stages improves accuracy can not be told.",
        },
        worse="Freezing more stages lowers accuracy.",
    ),
    "head": Claim(
        "Additional layers do not improve quality.",
        "deeper head minus one layer",
        no_gain,
        {
            "supported": "A deeper head does not improve accuracy.",
            "contradicted": "A deeper head improves accuracy.",
            "not resolved": "Whether a deeper head improves accuracy can not be told.",
        },
        worse="A deeper head lowers accuracy.",
    ),
    "scheduler": Claim(
        "The cosine schedule is better on average.",
        "cosine minus plateau",
        gain,
        {
            "supported": "The cosine schedule is better on average.",
            "contradicted": "The plateau schedule is better on average.",
            "not resolved": "Whether cosine or plateau is better on average can not be told.",
        },
    ),
}


def judge(configurations: pd.DataFrame, against_classical: Estimate) -> list[Judgement]:
    """Evaluate every claim.

    Args:
        configurations: one row a configuration: number, freeze, head, scheduler, accuracy.
        against_classical: lead of the best fine-tuned model over the best other one.
    """
    paired = statistics.matched_differences
    estimates = {
        "first": statistics.lead_of(1, configurations),
        "classical": against_classical,
        "freeze": statistics.freeze_trend(configurations),
        "head": statistics.mean_difference(paired(configurations, "head", "mlp", "none")),
        "scheduler": statistics.mean_difference(
            paired(configurations, "scheduler", "cosine", "plateau")
        ),
    }
    return [Judgement(claim, estimates[key]) for key, claim in CLAIMS.items()]


def of_published() -> list[Judgement]:
    """The claims on the source's own tables: accuracies of the best epoch, on validation."""
    table = published.comparison()
    lead = table["best_dl"] - table[["best_ml", "baseline"]].max()
    method = "no interval: the source does not say on how many images"
    return judge(published.results(), Estimate(float(lead), math.nan, math.nan, 0, method))


def of_study(evidence: Evidence) -> list[Judgement]:
    """The claims on our study: accuracies on the test set, which no choice ever saw."""
    return judge(evidence.configurations, _lead_over_classical(evidence))


def _lead_over_classical(evidence: Evidence) -> Estimate:
    """Best fine-tuned model, chosen on validation, against the best other, image by image."""
    if not evidence.finished or evidence.opponent is None:
        return Estimate(math.nan, math.nan, math.nan, 0, "one of the two models is missing")
    ours = evidence.predictions(evidence.best)
    theirs = evidence.predictions(evidence.opponent).reindex(ours.index)
    return statistics.paired_accuracy(
        (ours["predicted"] == ours["label"]).to_numpy(),
        (theirs["predicted"] == ours["label"]).to_numpy(),
    )
