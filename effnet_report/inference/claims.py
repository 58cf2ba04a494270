"""Conclusions as claims, each with the comparison that decides it.

The first five are the source's, the others ours. A claim is judged on any table of runs: the
one that the source published, or a study's. The verdict follows from an effect's 95 %
interval and the smallest effect of interest; p-values are kept beside it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd

from effnet_core import files, paths
from effnet_core.study.design import load_study
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence, load
from effnet_report.inference import statistics
from effnet_report.inference.statistics import Estimate, unknown
from effnet_report.inference.wording import WORDS, Words

Verdict = Literal["supported", "contradicted", "not resolved"]
Outcome = Literal["better", "worse", "level", "open"]

# What a comparison says about "there is a gain", and about "there is no gain".
GAIN: dict[Outcome, Verdict] = {
    "better": "supported",
    "level": "contradicted",
    "worse": "contradicted",
    "open": "not resolved",
}
NO_GAIN: dict[Outcome, Verdict] = {
    "better": "contradicted",
    "level": "supported",
    "worse": "supported",
    "open": "not resolved",
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


@dataclass(frozen=True)
class Judgement:
    """A claim, evaluated on some data.

    Attributes:
        sentence: what the report says about it.
        adjusted_p: p after Holm's correction for all claims on the same data.
    """

    key: str
    estimate: Estimate
    verdict: Verdict
    sentence: str
    adjusted_p: float

    @property
    def claim(self) -> Claim:
        return CLAIMS[self.key]


SOURCES = {
    "first": Claim(
        "Configuration 1 (nothing frozen, one linear layer, plateau) is the best.",
        "configuration 1 minus the best of the others",
        GAIN,
    ),
    "classical": Claim(
        "Fine-tuning beats classical machine learning and the baseline.",
        "best fine-tuned model minus the best model without fine-tuning",
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
OURS = {
    "depth": Claim(
        "Some stages can be frozen without a loss of quality that matters.",
        "deepest freeze that keeps the accuracy, or else the one nearest to it, minus none",
        GAIN,
    ),
    "time": Claim(
        "Freezing saves training time at equal quality.",
        "processor time of a training saved by the deepest freeze that keeps the accuracy",
        GAIN,
        unit="%",
    ),
    "memory": Claim(
        "Freezing saves memory at equal quality.",
        "peak memory saved by the deepest freeze that keeps the accuracy",
        GAIN,
        unit="%",
    ),
    "optimism": Claim(
        "The best epoch's validation accuracy is higher than the accuracy on untouched images.",
        "validation accuracy at the best epoch minus test accuracy, over all runs",
        GAIN,
    ),
}
CLAIMS = SOURCES | OURS


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


@dataclass(frozen=True)
class Depths:
    """How deep one can freeze.

    Attributes:
        kept: the deepest freeze that is shown to lose less than the margin; 0 when none is.
        lost: the freezes that are shown to lose more.
        nearest: `kept`, or else the freeze that comes nearest to keeping the accuracy.
        loss: change of accuracy at `nearest`; its interval holds for all depths at once.
    """

    kept: int
    lost: list[int]
    nearest: int
    loss: Estimate


def depths(runs: pd.DataFrame, margin: float) -> Depths:
    """Compare every freeze with none, against a margin in points of accuracy."""
    looks = max(1, runs["freeze"].nunique() - 1)
    contrasts = statistics.freeze_contrasts(runs, against=-margin, looks=looks)
    known = {n: contrast for n, contrast in contrasts.items() if not math.isnan(contrast.low)}
    if not known:
        return Depths(0, [], 0, unknown("no freeze can be compared with none"))
    kept = max((n for n, contrast in known.items() if contrast.low > -margin), default=0)
    lost = [n for n, contrast in known.items() if contrast.high < -margin]
    nearest = kept or max(known, key=lambda n: known[n].low)
    return Depths(kept, lost, nearest, known[nearest])


def judge(estimates: Mapping[str, Estimate], margin: float, deep: Depths) -> list[Judgement]:
    """Turn every claim's estimate into a verdict and a sentence.

    Args:
        estimates: by key of `CLAIMS`; that of `depth` is added here.
        margin: smallest effect of interest, points of accuracy.
        deep: how deep one can freeze.
    """
    estimates = {**estimates, "depth": deep.loss}
    adjusted = statistics.holm([estimates[key].p for key in CLAIMS])
    judged = []
    for (key, claim), p in zip(CLAIMS.items(), adjusted, strict=True):
        estimate, measured = estimates[key], claim.measured
        if key == "depth":
            found, measured = _loss(estimate, margin), f"freeze {deep.nearest} minus none"
        else:
            # Of a saving, anything above zero matters.
            found = outcome(estimate, margin if claim.unit == "points" else 0)
        words = Words(estimate, claim.unit, measured, margin, deep.kept, deep.lost)
        judged.append(
            Judgement(key, estimate, claim.verdicts[found], words.fill(WORDS[key][found]), p)
        )
    return judged


@cache
def of_source() -> list[Judgement]:
    """The claims on the source's own tables: accuracies of the best epoch, on validation."""
    table = source.comparison()
    lead = float(table["best_dl"] - table[["best_ml", "baseline"]].max())
    classical = unknown("no interval: the source does not say on how many images", 0, lead)
    margin = load_study("paper").smallest_effect
    estimates = _of_accuracy(source.results(), classical)
    for key in ("time", "memory", "optimism"):
        estimates[key] = unknown("the source does not report it")
    return judge(estimates, margin, depths(source.results(), margin))


@cache
def of_study(evidence: Evidence) -> list[Judgement]:
    """The claims on a study: accuracies on the test set, which no choice ever saw."""
    runs, margin = evidence.runs, evidence.design.smallest_effect
    deep = depths(runs, margin)
    estimates = _of_accuracy(runs, _lead_over_classical(evidence))
    estimates["time"] = saving(runs, "cpu_seconds", deep.kept)
    estimates["memory"] = saving(runs, "memory_mb", deep.kept)
    estimates["optimism"] = _optimism(evidence)
    return judge(estimates, margin, deep)


def saving(runs: pd.DataFrame, cost: str, kept: int) -> Estimate:
    """How much of a cost a freeze saves against freezing nothing, in per cent.

    Args:
        runs: one row a run.
        cost: column of it, above zero.
        kept: the freeze; with 0 there is nothing to save.
    """
    logs = runs.assign(log_cost=np.log(runs[cost].astype(float)))
    contrast = statistics.freeze_contrasts(logs, "log_cost").get(kept)
    if contrast is None:
        return unknown("no freeze is shown to keep the accuracy")

    def saved(change: float) -> float:
        return 100 * (1 - math.exp(change))

    return replace(
        contrast,
        effect=saved(contrast.effect),
        low=saved(contrast.high),
        high=saved(contrast.low),
        method=f"{contrast.method}, of the logarithm",
    )


def as_records(judged: list[Judgement]) -> list[dict[str, object]]:
    """Judgements as plain data; what is unknown is None, the rest has six digits."""
    rows = [
        {
            "claim": judgement.key,
            "statement": judgement.claim.statement,
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


def save(reference: str) -> None:
    """Write the verdicts on a study beside its records, and those on the source's tables.

    Raises:
        InputError: no such study, or a folder can not be written.
    """
    files.write(paths.records(reference) / "claims.json", as_json(of_study(load(reference))))
    files.write(source.CLAIMS, as_json(of_source()))


def _of_accuracy(runs: pd.DataFrame, classical: Estimate) -> dict[str, Estimate]:
    differences = statistics.matched_differences
    return {
        "first": statistics.lead_of(1, runs),
        "classical": classical,
        "freeze": statistics.freeze_trend(runs),
        "head": statistics.mean_difference(differences(runs, "head", "mlp", "none")),
        "scheduler": statistics.mean_difference(
            differences(runs, "scheduler", "cosine", "plateau")
        ),
    }


def _loss(estimate: Estimate, margin: float) -> Outcome:
    """Whether a loss of the size of the margin is excluded (better), or certain (worse)."""
    if estimate.low > -margin:
        return "better"
    return "worse" if estimate.high < -margin else "open"


def _lead_over_classical(evidence: Evidence) -> Estimate:
    """Best fine-tuned configuration, chosen on validation, against the best other, by image."""
    if not evidence.finished or not evidence.opponent:
        return unknown("one of the two models is missing")
    ours, theirs = evidence.correct(evidence.best), evidence.correct(evidence.opponent)
    return statistics.paired_images((ours - theirs.reindex(ours.index)).to_numpy())


def _optimism(evidence: Evidence) -> Estimate:
    if not evidence.finished:
        return unknown("no runs")
    validation = evidence.correct(evidence.finished, "validation")
    return statistics.between_images(validation, evidence.correct(evidence.finished))
