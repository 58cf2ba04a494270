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

from effnet_core.study.design import SOURCE_FACTORS
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import source
from effnet_report.inference import contrasts
from effnet_report.inference.contrasts import Compared, OneTable
from effnet_report.inference.decisive import Noninferiority, change, noninferiority, rivals
from effnet_report.inference.seeds_and_images import LEVEL, Estimate, against, unknown
from effnet_report.inference.wording import OF_A_FACTOR, WORDS, Words, effect_with_interval

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
        factor: that it is about; without it a study has no such claim.
    """

    statement: str
    measured: str
    verdicts: dict[Outcome, Verdict]
    unit: str = "points"
    factor: str = ""

    def named(self, accuracy: str) -> "Claim":
        """The claim in the words of a study whose quality is called `accuracy`."""
        statement, measured = (
            text.replace("accuracy", accuracy) for text in (self.statement, self.measured)
        )
        return replace(self, statement=statement, measured=measured)


@dataclass(frozen=True)
class Judgement:
    """A claim, evaluated on some data.

    Attributes:
        key: in `CLAIMS`, or the factor that it is about.
        measured: the effect in words, of these data.
        verdict: on a study, one of `Verdict`; on a single table, whether it is consistent.
        sentence: what the report says about it.
        adjusted_p: p after Holm's correction for all claims on the same data.
        margin: smallest effect of interest that it was judged by.
    """

    key: str
    claim: Claim
    measured: str
    estimate: Estimate
    verdict: str
    sentence: str
    adjusted_p: float
    margin: float

    def span(self, kind: str = "CI") -> str:
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
        factor="freeze",
    ),
    "head": Claim(
        "Additional layers do not improve quality.",
        "deeper head minus one layer",
        NO_GAIN,
        factor="head",
    ),
    "scheduler": Claim(
        "The cosine schedule is better on average.",
        "cosine minus plateau",
        GAIN,
        factor="scheduler",
    ),
}
ADDED = {
    "depth": Claim(
        "Some stages can be frozen without a loss of quality that matters.",
        "deepest freeze that keeps the accuracy, or else the one nearest to it, minus none",
        GAIN,
        factor="freeze",
    ),
    "time": Claim(
        "Freezing saves training time without a loss of quality that matters.",
        "CPU time per epoch saved by the deepest freeze that keeps the accuracy",
        GAIN,
        unit="%",
        factor="freeze",
    ),
    "memory": Claim(
        "Freezing saves memory without a loss of quality that matters.",
        "peak memory saved by the deepest freeze that keeps the accuracy",
        GAIN,
        unit="%",
        factor="freeze",
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


def claims_of(compared: Compared, accuracy: str = "accuracy") -> dict[str, Claim]:
    """The claims that a study's factors allow: the source's, one per other factor, and ours.

    Where other factors vary, configuration 1 is not the source's.

    Args:
        accuracy: what the study's quality is called.
    """
    others = {
        factor: Claim(
            f"Another level of {words.factor(factor)} is better than the first.",
            f"the best level of {words.factor(factor)} minus the first",
            GAIN,
            factor=factor,
        )
        for factor in contrasts.varied(compared)
        if factor not in SOURCE_FACTORS
    }
    every = SOURCES | others | ADDED
    if others:
        first = every.pop("first")
        statement = f"Configuration 1 ({compared.design['words'].iloc[0]}) is the best."
        every = {"reference": replace(first, statement=statement)} | every
    return {
        key: claim.named(accuracy)
        for key, claim in every.items()
        if claim.factor in ("", *compared.factors)
    }


def judge(
    compared: Compared,
    others: Mapping[str, Estimate],
    margin: float,
    accuracy: str = "accuracy",
) -> list[Judgement]:
    """Turn every claim's estimate into a verdict and a sentence.

    Args:
        compared: the configurations.
        others: the estimates, by key of `CLAIMS`, that do not follow from `compared` alone.
        margin: smallest effect of interest, points of accuracy.
        accuracy: what the study's quality is called.
    """
    judged, by_depth = claims_of(compared, accuracy), noninferiority(compared, margin)
    measured, estimates = _measured(compared, by_depth)
    estimates |= others
    for key, claim in judged.items():
        if claim.verdicts is NO_GAIN:  # its rival is a gain that matters, not any gain
            estimates[key] = against(estimates[key], margin)
    adjusted = holm([estimates[key].p for key in judged])
    # That freezing saves something without a loss is no surer than that it loses nothing.
    without_loss = dict(zip(judged, adjusted, strict=True)).get("depth", math.nan)
    adjusted = [
        max(p, without_loss) if key in ("time", "memory") and not math.isnan(p) else p
        for key, p in zip(judged, adjusted, strict=True)
    ]
    judgements = []
    for (key, claim), p in zip(judged.items(), adjusted, strict=True):
        estimate, of_these_data = estimates[key], measured.get(key, claim.measured)
        # Of a saving, anything above zero matters.
        smallest = margin if claim.unit == "points" else 0
        shown = _loss(by_depth) if key == "depth" else outcome(estimate, smallest)
        words = Words(
            estimate, claim.unit, of_these_data, margin, by_depth.deepest_noninferior,
            by_depth.inferior, accuracy,
        )  # fmt: skip
        sentence = words.fill(WORDS.get(key, OF_A_FACTOR)[shown])
        verdict = claim.verdicts[shown]
        judgement = Judgement(key, claim, of_these_data, estimate, verdict, sentence, p, margin)
        judgements.append(judgement)
    return judgements


def _measured(
    compared: Compared, by_depth: Noninferiority
) -> tuple[dict[str, str], dict[str, Estimate]]:
    """What the configurations say: the effects in words of these data, and their estimates."""
    ahead = rivals(compared)
    others = [name for name in contrasts.varied(compared) if name not in SOURCE_FACTORS]
    changes = {name: change(compared, name) for name in others}
    measured = {name: decisive.words for name, decisive in changes.items()}
    if by_depth.nearest:
        measured["depth"] = f"freeze {by_depth.nearest} minus none"
    if ahead.closest:
        measured["first"] = f"configuration 1 minus {ahead.names[ahead.closest]}"
        measured["reference"] = measured["first"]
    estimates = {name: decisive.effect for name, decisive in changes.items()}
    estimates |= {"depth": by_depth.loss, "first": ahead.lead, "reference": ahead.lead}
    estimates |= {
        "freeze": contrasts.trend(compared),
        "head": contrasts.choice(compared, "head"),
        "scheduler": contrasts.choice(compared, "scheduler"),
    }
    return measured, estimates


# What a single table can say where a study would support, contradict or leave open.
CONSISTENCY: dict[str, str] = {
    "supported": "consistent",
    "contradicted": "consistent with the opposite",
    "inconclusive": "no consistent effect",
}


@cache
def of_source() -> list[Judgement]:
    """The claims on the source's own tables: accuracies of the best epoch, on validation."""
    table = source.comparison()
    lead = float(table["best_dl"] - table[["best_ml", "baseline"]].max())
    margin, compared = load_study("paper").smallest_effect, OneTable(source.results())
    estimates = {
        "classical": unknown("no interval: one run each, on an unknown number of images", lead),
        **dict.fromkeys(("time", "memory", "optimism"), unknown("the source does not report it")),
    }
    judged = []
    for conclusion in judge(compared, estimates, margin):
        verdict = CONSISTENCY[conclusion.verdict]
        if not conclusion.estimate.known:
            is_there = not math.isnan(conclusion.estimate.effect)
            verdict = "reported without an interval" if is_there else "not reported"
        span = conclusion.span("consistency interval")
        sentence = f"{conclusion.measured}, in one table of single runs: {span}: {verdict}."
        judged.append(replace(conclusion, verdict=verdict, sentence=sentence, adjusted_p=math.nan))
    return judged


def by_chance(judged: Sequence[Judgement]) -> str:
    """How many effects would seem clear by chance alone."""
    tested = sum(conclusion.estimate.known for conclusion in judged)
    if not tested:
        return "No verdict rests on an interval yet."
    return (
        f"If each of these {tested} effects had exactly the size that it is tested against, "
        f"{(1 - LEVEL) * tested:.2g} would be expected to seem clear by chance, without correction."
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


def _loss(by_depth: Noninferiority) -> Outcome:
    """Whether a loss of the size of the margin is excluded (better), or certain at all depths."""
    if by_depth.deepest_noninferior:
        return "better"
    return (
        "worse" if by_depth.changes and len(by_depth.inferior) == len(by_depth.changes) else "open"
    )
