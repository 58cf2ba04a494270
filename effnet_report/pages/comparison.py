"""The page Comparison: fine-tuning beside everything that needs none."""

import json
import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.records import classical_id
from effnet_core.study.schema import Candidate
from effnet_report.inference import comparison as compared
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import DASH, number
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import factors, html
from effnet_report.render.drawing import (
    OURS,
    THEIRS,
    canvas,
    sentences,
)
from effnet_report.render.html import apart, finding, link, table
from effnet_report.words import joined

SHOWN = 10  # rows of the grid


def answer(analysis: Analysis) -> HTML:
    """Fine-tuning against everything that needs no fine-tuning."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = analysis.judgement["classical"]
    return finding(
        best_of(analysis.comparison),
        judged.sentence,
        *_rival(analysis),
        *apart(shown.neighbours(analysis)),
        *apart(shown.other_recipes(analysis)),
        *apart(coverage(evidence)),
    )


def _rival(analysis: Analysis) -> Iterator[str]:
    """Which models without fine-tuning the lead is over."""
    kinds = sorted({compared.kind(record.outcome) for record in analysis.rival})
    if kinds and analysis.rival[0].kind == "baseline":
        yield (
            "The rival of fine-tuning is the baseline, which is better on validation images than "
            "the classical models."
        )
    elif kinds:
        yield (
            "Compared are, in each seed, the run that is best on validation and the classical "
            "model that cross-validation on the training images ranks first; the latter works on "
            f"{joined(kinds, 'or')}."
        )


def best_of(models: pd.DataFrame) -> str:
    """The best of our models on the test set, and the best published one beside it."""
    ranked = models.sort_values("accuracy", ascending=False)
    ours = ranked[ranked["source"] == compared.THIS_STUDY]
    theirs = ranked[ranked["source"] != compared.THIS_STUDY]
    if ours.empty:
        return "No model of this study is finished yet."
    top = ours[ours["accuracy"] == ours["accuracy"].iloc[0]]
    sentence = (
        "Of the models below, each chosen on validation or training images, the most accurate "
        "reaches "
        f"{number(top['accuracy'].iloc[0])} %: "
        f"{joined(top['model'])}"
    )
    if theirs.empty:
        return f"{sentence}."
    other = theirs.iloc[0]
    return (
        f"{sentence}. The published accuracy that we compare with is {number(other['accuracy'])} % "
        f"({other['model']}, {other['source']}), with another split and other labels."
    )


@needs_runs
def models(analysis: Analysis) -> HTML:
    """Accuracies of the models side by side, with intervals for the number of images."""
    data = analysis.comparison
    names = [textwrap.fill(name, 30) for name in data["model"]]
    figure = canvas(7.2, 0.9 + 0.55 * len(data))
    axes = figure.subplots()
    for whose, group in data.assign(place=-np.arange(len(data))).groupby("source"):
        colour, marker = (OURS, "o") if whose == compared.THIS_STUDY else (THEIRS, "s")
        axes.hlines(group["place"], group["low"], group["high"], color=colour, linewidth=2)
        axes.plot(group["accuracy"], group["place"], marker, color=colour)
    axes.set_yticks([-place for place in range(len(data))], names)
    axes.set_ylim(0.6 - len(data), 0.6)
    axes.set_xlabel("accuracy, %")
    published = (data["source"] != compared.THIS_STUDY).any()
    return html.figure(
        figure,
        "comparison",
        finding=lift(data),
        caption="Accuracy on the test set with 95 % intervals for other images."
        + (" Grey squares are published results with another split." if published else ""),
        alt=sentences(data, "{model}: {accuracy:.1f} % ({low:.1f} to {high:.1f})"),
        data=data,
    )


def lift(models: pd.DataFrame) -> str:
    """How far the best of our models is above the majority class."""
    ours = models.loc[models["source"] == compared.THIS_STUDY, "accuracy"]
    above = number(ours.max() - ours.iloc[0])
    return f"The best model of this study is {above} points above the majority class."


def table_2(analysis: Analysis) -> HTML:
    """Plainest guess, baseline, best classical, best fine-tuned, published elsewhere."""
    frame = analysis.comparison
    ours = (frame["source"] == compared.THIS_STUDY).sum()
    names = {"low": "from, %", "high": "to, %", "images": "test images"}
    return table(
        frame.rename(columns=factors.QUALITY | names),
        "table-2-comparison",
        finding=(
            f"{ours} of {len(frame)} models are measured here"
            + ("." if ours == len(frame) else "; the others are published.")
        ),
        caption="Means over the seeds with 95 % intervals for other images; macro means are over "
        "the classes too. The model with the best mean on validation was chosen over all seeds at "
        "once, which flatters it.",
    )


@needs_runs
def effort(analysis: Analysis) -> HTML:
    """How much tuning went into each side: candidates, learning rates, CPU time."""
    evidence = analysis.evidence
    rates = evidence.design.protocol.rates
    rows = [
        {
            "side": "fine-tuned",
            "candidates per seed": len(evidence.design.configurations()),
            "learning rates per run": len(rates),
            "CPU minutes per seed": evidence.runs.groupby("seed")["cpu_seconds"].sum().mean() / 60,
        }
    ]
    for name in compared.KINDS:
        tried = [c for c in _candidates(analysis) if compared.kind(c) == name]
        if tried:
            minutes = sum(candidate.seconds for candidate in tried) / 60
            rows.append(
                {
                    "side": name,
                    "candidates per seed": len(tried),
                    "learning rates per run": DASH,
                    "CPU minutes per seed": minutes,
                }
            )
    ours, *theirs = (float(row["CPU minutes per seed"]) for row in rows)
    return table(
        pd.DataFrame(rows),
        "effort",
        finding=f"Fine-tuning took {number(ours / sum(theirs), 0)} times the CPU time of the "
        "classical models."
        if theirs
        else "Only fine-tuned models are here.",
        caption="Neither side saw test images: fine-tuned configurations are chosen on validation "
        "images, classical models by cross-validation on the training images alone. The CPU time "
        "of classical models is that of the first seed's cross-validation on one core.",
    )


def _candidates(analysis: Analysis) -> list[Candidate]:
    records = analysis.evidence.classical.get("classical", [])
    return records[0].outcome.candidates if records else []


def candidates(analysis: Analysis) -> HTML:
    """The best classical models by cross-validated accuracy; all of them as CSV."""
    evidence = analysis.evidence
    tried = _candidates(analysis)
    if not tried:
        failed = [r for r in map(classical_id, evidence.design.seeds) if r in evidence.failures]
        if failed:
            why = evidence.failures[failed[0]]
            more = link("reproducibility.html#missing", "what is missing")
            gap = f"No classical model could be trained; {failed[0]} has failed: {why}"
            return finding(gap, Markup("See {}.").format(more))
        return nothing_yet(evidence, "classical model")
    frame = pd.DataFrame([candidate.model_dump() for candidate in tried])
    frame["options"] = frame["options"].map(_options)
    frame.insert(0, "kind", [compared.kind(candidate) for candidate in tried])
    names = {"cv_accuracy": "accuracy, %", "cv_sd": "spread, points"}
    ranked = frame.sort_values("cv_accuracy", ascending=False).rename(columns=names)
    best = ranked.groupby("kind", sort=False)["accuracy, %"].max()
    scores = joined(f"{number(value)} % on {kind}" for kind, value in best.items())
    return table(
        ranked.head(SHOWN).drop(columns="kind"),
        "classical-candidates",
        finding=f"The best of {len(frame)} classical models reach {scores} in cross-validation.",
        caption=f"The {min(SHOWN, len(frame))} best on the first seed's training images; the CSV "
        "has all. The spread is the standard deviation over folds.",
        data=ranked,
    )


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())
