"""Conclusions as claims, each with the comparison that decides it.

The first five are the source's, the others ours. On a study, the verdict follows from an effect's
95 % interval for other trainings and other images, and from the smallest effect of interest. The
source's table can only show whether an effect is consistent over its configurations.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from statsmodels.stats.multitest import multipletests

from effnet_core.study.studies import load_study
from effnet_report.evidence import source
from effnet_report.inference import contrasts
from effnet_report.inference.contrasts import Compared, OneTable
from effnet_report.inference.decisive import Noninferiority, Rivals, noninferiority, rivals
from effnet_report.inference.seeds_and_images import LEVEL, Estimate, unknown
from effnet_report.inference.wording import WORDS, Words, effect_with_interval

Verdict = Literal["supported", "contradicted", "inconclusive"]
Outcome = Literal["better", "worse", "level", "open"]

# What a comparison says about "there is a gain", and about "there is no gain".
GAIN: dict[Outcome, Verdict] = {
    "better": "supported",
    "level": "contradicted",
    "worse": "contradicted",
    "open": "inconclusive",
}
NO_GAIN: dict[Outcome, Verdict] = {
    "better": "contradicted",
    "level": "supported",
    "worse": "supported",
    "open": "inconclusive",
}


@dataclass(frozen=True)
class Claim:
    """A conclusion.

    Attributes:
        statement: the conclusion itself.
        measured: the effect that decides it.
        verdicts: what each outcome of the comparison says about the statement.
        unit: of the effect: percentage points of accuracy, or per cent.
    """

    statement: str
    measured: str
    verdicts: dict[Outcome, Verdict]
    unit: str = "points"

    @property
    def covers(self) -> str:
        """What the interval on a study holds for."""
        if self.unit == "points":
            return "other trainings and other images of this kind"
        return "other trainings on such a machine"


@dataclass(frozen=True)
class Judgement:
    """A claim, evaluated on some data.

    Attributes:
        measured: the effect in words, of these data.
        verdict: on a study, one of `Verdict`; on a single table, whether it is consistent.
        sentence: what the report says about it.
        adjusted_p: p after Holm's correction for all claims on the same data.
        margin: smallest effect of interest that it was judged by.
    """

    key: str
    measured: str
    estimate: Estimate
    verdict: str
    sentence: str
    adjusted_p: float
    margin: float

    @property
    def claim(self) -> Claim:
        return CLAIMS[self.key]

    def span(self, kind: str = "interval") -> str:
        """The effect with its interval, as `effect_with_interval` writes it."""
        return effect_with_interval(self.estimate, self.claim.unit, kind, self.margin)


SOURCES = {
    "first": Claim(
        "Configuration 1 (nothing frozen, one linear layer, plateau) is the best.",
        "configuration 1 minus the one that comes closest to it, or is ahead of it",
        GAIN,
    ),
    "classical": Claim(
        "Fine-tuning beats classical machine learning and the baseline.",
        "fine-tuned minus the best model without fine-tuning, each chosen on validation",
        GAIN,
    ),
    "freeze": Claim(
        "Freezing more stages does not improve quality.",
        "deepest freeze minus none, along a straight line",
        NO_GAIN,
    ),
    "head": Claim(
        "Additional layers do not improve quality.",
        "deeper head minus one layer",
        NO_GAIN,
    ),
    "scheduler": Claim(
        "The cosine schedule is better on average.",
        "cosine minus plateau",
        GAIN,
    ),
}
ADDED = {
    "depth": Claim(
        "Some stages can be frozen without a loss of quality that matters.",
        "deepest freeze that keeps the accuracy, or else the one nearest to it, minus none",
        GAIN,
    ),
    "time": Claim(
        "Freezing saves training time without a loss of quality that matters.",
        "CPU time of a training saved by the deepest freeze that keeps the accuracy",
        GAIN,
        unit="%",
    ),
    "memory": Claim(
        "Freezing saves memory without a loss of quality that matters.",
        "peak memory saved by the deepest freeze that keeps the accuracy",
        GAIN,
        unit="%",
    ),
    "optimism": Claim(
        "The best epoch's validation accuracy is higher than the accuracy on untouched images.",
        "validation accuracy at the best epoch minus test accuracy, mean over the runs",
        GAIN,
    ),
}
CLAIMS = SOURCES | ADDED


def outcome(estimate: Estimate, margin: float) -> Outcome:
    """What an interval says about a gain.

    Returns:
        better: above zero, and may be as large as the margin. worse: below zero. level: no
        gain of the size of the margin is left. open: none of these.
    """
    if estimate.high < 0:
        return "worse"
    if estimate.high < margin:
        return "level"
    return "better" if estimate.low > 0 else "open"


def judge(
    estimates: Mapping[str, Estimate], margin: float, by_depth: Noninferiority, others: Rivals
) -> list[Judgement]:
    """Turn every claim's estimate into a verdict and a sentence.

    Args:
        estimates: by key of `CLAIMS`; those of `depth` and `first` are added here.
        margin: smallest effect of interest, points of accuracy.
        by_depth: how deep one can freeze.
        others: how configuration 1 compares with the others.
    """
    estimates = {**estimates, "depth": by_depth.loss, "first": others.lead}
    of_these_data = {"depth": f"freeze {by_depth.nearest} minus none"} if by_depth.nearest else {}
    if others.closest:
        of_these_data["first"] = f"configuration 1 minus {others.names[others.closest]}"
    adjusted = holm([estimates[key].p for key in CLAIMS])
    judged = []
    for (key, claim), p in zip(CLAIMS.items(), adjusted, strict=True):
        estimate, measured = estimates[key], of_these_data.get(key, claim.measured)
        # Of a saving, anything above zero matters.
        smallest = margin if claim.unit == "points" else 0
        found = _loss(by_depth) if key == "depth" else outcome(estimate, smallest)
        words = Words(
            estimate, claim.unit, measured, margin, by_depth.deepest_noninferior, by_depth.inferior
        )
        judged.append(
            Judgement(
                key,
                measured,
                estimate,
                claim.verdicts[found],
                words.fill(WORDS[key][found]),
                p,
                margin,
            )
        )
    return judged


# What a single table can say where a study would support, contradict or leave open.
CONSISTENCY: dict[str, str] = {
    "supported": "consistent",
    "contradicted": "consistent with the opposite",
    "inconclusive": "not consistent",
}


@cache
def of_source() -> list[Judgement]:
    """The claims on the source's own tables: accuracies of the best epoch, on validation."""
    table = source.comparison()
    lead = float(table["best_dl"] - table[["best_ml", "baseline"]].max())
    margin, compared = load_study("paper").smallest_effect, OneTable(source.results())
    estimates = of_accuracy(compared) | {
        "classical": unknown("no interval: one run each, on an unknown number of images", lead),
        **dict.fromkeys(("time", "memory", "optimism"), unknown("the source does not report it")),
    }
    judged = []
    for one in judge(estimates, margin, noninferiority(compared, margin), rivals(compared)):
        verdict = CONSISTENCY[one.verdict] if one.estimate.known else "not reported"
        span = one.span("consistency interval")
        sentence = f"{one.measured}, in one table of single runs: {span}: {verdict}."
        judged.append(replace(one, verdict=verdict, sentence=sentence, adjusted_p=math.nan))
    return judged


def by_chance(judged: Sequence[Judgement]) -> str:
    """How many verdicts would be wrong by chance alone."""
    tested = sum(one.estimate.known for one in judged)
    if not tested:
        return "No verdict rests on an interval yet."
    return (
        f"Each verdict is reached by itself: of the {tested} that rest on an interval, at most "
        f"{(1 - LEVEL) * tested:.2g} are expected to be wrong by chance."
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979); NaN stays NaN and is not counted."""
    values = np.asarray(p_values, dtype=float)
    known = ~np.isnan(values)
    if known.any():
        values[known] = multipletests(values[known], method="holm")[1]
    return values.tolist()


def as_records(judged: list[Judgement]) -> list[dict[str, object]]:
    """Judgements as plain data; what is unknown is None, the rest has six digits."""
    rows = [
        {
            "claim": judgement.key,
            "statement": judgement.claim.statement,
            "measured": judgement.measured,
            "verdict": judgement.verdict,
            "sentence": judgement.sentence,
            "unit": judgement.claim.unit,
            **asdict(judgement.estimate),
            "adjusted_p": judgement.adjusted_p,
        }
        for judgement in judged
    ]
    return [
        {name: _digits(v) if isinstance(v, float) else v for name, v in row.items()} for row in rows
    ]


def _digits(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def as_json(judged: list[Judgement]) -> bytes:
    """The verdicts as a JSON file."""
    return (json.dumps(as_records(judged), indent=1, ensure_ascii=False) + "\n").encode()


def of_accuracy(compared: Compared) -> dict[str, Estimate]:
    """What each of the source's factors changes, by key of `CLAIMS`."""
    return {
        "freeze": contrasts.trend(compared),
        "head": contrasts.choice(compared, "head"),
        "scheduler": contrasts.choice(compared, "scheduler"),
    }


def _loss(by_depth: Noninferiority) -> Outcome:
    """Whether a loss of the size of the margin is excluded (better), or certain at all depths."""
    if by_depth.deepest_noninferior:
        return "better"
    return (
        "worse" if by_depth.changes and len(by_depth.inferior) == len(by_depth.changes) else "open"
    )
