"""The page Comparison: fine-tuning beside everything that needs none."""

import json
import textwrap

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.records import classical_id
from effnet_report.inference import comparison as compared
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import factors, html
from effnet_report.render.drawing import (
    OURS,
    THEIRS,
    canvas,
    sentences,
)
from effnet_report.render.html import finding, link, table


def answer(analysis: Analysis) -> HTML:
    """Fine-tuning against everything that needs no fine-tuning."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = analysis.judgement["classical"]
    return finding(
        best_of(analysis.comparison),
        judged.sentence,
        *coverage(evidence),
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
        f"Most accurate here, with {number(top['accuracy'].iloc[0])} %: "
        f"{' and '.join(top['model'])}"
    )
    if theirs.empty:
        return f"{sentence}."
    other = theirs.iloc[0]
    return (
        f"{sentence}; the best published figure for these images is "
        f"{number(other['accuracy'])} % ({other['model']}, {other['source']})."
    )


@needs_runs
def models(analysis: Analysis) -> HTML:
    """Accuracies of the models side by side, with intervals for the number of images."""
    data = analysis.comparison
    names = [textwrap.fill(name, 30) for name in data["model"]]
    figure = canvas(7.2, 0.9 + 0.5 * len(data))
    axes = figure.subplots()
    for whose, group in data.assign(place=-np.arange(len(data))).groupby("source"):
        colour, marker = (OURS, "o") if whose == compared.THIS_STUDY else (THEIRS, "s")
        axes.hlines(group["place"], group["low"], group["high"], color=colour, linewidth=2)
        axes.plot(group["accuracy"], group["place"], marker, color=colour)
    axes.set_yticks([-place for place in range(len(data))], names)
    axes.set_ylim(0.6 - len(data), 0.6)
    axes.set_xlabel("accuracy, %")
    return html.figure(
        figure,
        "comparison",
        finding=lift(data),
        caption=(
            "Accuracy on the test set with 95 % intervals for other images (Wilson)."
            + (
                " Grey squares: published by others with their own labels and split, so beside "
                "ours, not equal to them."
                if (data["source"] != compared.THIS_STUDY).any()
                else ""
            )
        ),
        alt=sentences(data, "{model}: {accuracy:.1f} % ({low:.1f} to {high:.1f})"),
        data=data,
    )


def lift(models: pd.DataFrame) -> str:
    """How far the best of our models is above the majority class."""
    ours = models.loc[models["source"] == compared.THIS_STUDY, "accuracy"]
    above = number(ours.max() - ours.iloc[0])
    return f"The best model of this study is {above} points above the majority class."


def table_2(analysis: Analysis) -> HTML:
    """Table 2: plainest guess, baseline, best classical, best fine-tuned, published elsewhere."""
    frame = analysis.comparison
    ours = (frame["source"] == compared.THIS_STUDY).sum()
    names = {"low": "from, %", "high": "to, %", "images": "test images"}
    return table(
        frame.rename(columns=factors.QUALITY | names),
        "table-2-comparison",
        finding=(
            f"{ours} of {len(frame)} models are measured here"
            + ("." if ours == len(frame) else "; the others are published elsewhere.")
        ),
        caption=(
            "Accuracy on the test set, mean over the seeds, with the 95 % interval for other "
            "images (Wilson). The best mean on validation was chosen over all seeds at once, so "
            "the luck of these trainings flatters it."
            + (
                " The published figures rest on another split and other labels of the same images."
                if ours < len(frame)
                else ""
            )
        ),
    )


def candidates(analysis: Analysis) -> HTML:
    """The whole grid of classical models, by cross-validated accuracy."""
    evidence = analysis.evidence
    if "classical" not in evidence.classical:
        failed = [r for r in map(classical_id, evidence.design.seeds) if r in evidence.failures]
        if failed:
            why = evidence.failures[failed[0]]
            more = link("reproducibility.html#missing", "what is missing")
            said = f"No classical model could be trained; {failed[0]} has failed: {why}"
            return finding(said, Markup("See {}.").format(more))
        return nothing_yet(evidence, "classical model")
    outcome = evidence.classical["classical"][0].outcome
    frame = pd.DataFrame([candidate.model_dump() for candidate in outcome.candidates])
    frame["options"] = frame["options"].map(_options)
    names = {"cv_accuracy": "accuracy, %", "cv_sd": "spread, points"}
    return table(
        frame.sort_values("cv_accuracy", ascending=False).rename(columns=names),
        "classical-candidates",
        finding=(
            f"Of {len(frame)} classical models, {outcome.classifier} is the best in "
            f"cross-validation (features: {outcome.features})."
        ),
        caption=(
            "Cross-validation on the first seed's training images; spread: standard deviation "
            "over folds."
        ),
    )


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())
