"""The book's tables. Each says in its title what it shows, and comes as CSV as well."""

import json
from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import FACTORS, HEAD_WORDS, Protocol
from effnet_core.study.records import classical_id
from effnet_core.study.studies import load_study
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence, configuration_means
from effnet_report.inference import comparison
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages import findings
from effnet_report.render.finding import finding, nothing_yet
from effnet_report.render.html import link, paragraph, table

FACTOR_HEADINGS = {"number": "model", "head": "head", "freeze": "frozen stages"}
QUALITY = {"accuracy": "accuracy, %", "precision": "precision, %", "recall": "recall, %"}


def source_results() -> HTML:
    """The source's Table 1, as it stands there."""
    frame = source.results()
    order = ["number", "head", "freeze", "scheduler", *QUALITY]
    shown = frame.assign(head=frame["head"].map(HEAD_WORDS))[order]
    return table(
        shown.rename(columns=FACTOR_HEADINGS | QUALITY),
        "source-results",
        finding=f"Highest accuracy in the source: {findings.leaders(frame, 'accuracy')}.",
        caption="Table 1 of the source, row for row: the best of each cycle, on validation.",
        decimals=2,
    )


def source_comparison() -> HTML:
    """The source's Table 2, as it stands there."""
    names = {"baseline": "baseline", "best_ml": "best classical", "best_dl": "best fine-tuned"}
    values = source.comparison()
    lead = values["best_dl"] - values["best_ml"]
    return table(
        values.rename(names).rename_axis("model").reset_index().rename(columns=QUALITY),
        "source-comparison",
        finding=f"The best network is {number(lead)} points above the best classical model.",
        caption="Table 2 of the source, row for row.",
    )


def source_means() -> HTML:
    """What follows from the source's Table 1 by factor."""
    return _factor_means(source.results(), "source-means")


def factor_means(evidence: Evidence) -> HTML:
    """Our test accuracy by factor."""
    if not evidence.finished:
        return nothing_yet(evidence)
    return _factor_means(evidence.runs, "factor-means")


def _factor_means(runs: pd.DataFrame, name: str) -> HTML:
    """Mean, lowest and highest accuracy at each level of each factor that has several."""
    configurations = configuration_means(runs)
    compared = [factor for factor in FACTORS if configurations[factor].nunique() > 1]
    if not compared:
        return paragraph(Markup("Only one configuration was tried: no factor has two levels."))
    constant = " and ".join(factor for factor in FACTORS if factor not in compared)
    tables = [
        configurations.groupby(factor)["accuracy"]
        .agg(configurations="size", mean="mean", lowest="min", highest="max")
        .rename_axis("level")
        .reset_index()
        .assign(factor=factor)
        .replace({"level": HEAD_WORDS})
        for factor in compared
    ]
    order = ["factor", "level", "configurations", "mean", "lowest", "highest"]
    means = pd.concat(tables)[order]
    span = means.groupby("factor")["mean"].agg(lambda values: values.max() - values.min())
    order = span.sort_values(ascending=False)
    named = [f"{factor} ({number(points)} points)" for factor, points in order.items()]
    most, least = named[0], named[-1]
    return table(
        means.rename(columns={"mean": "mean accuracy, %"}),
        name,
        finding=f"Mean accuracy differs most between the levels of {most}"
        + (f" and least between those of {least}." if len(compared) > 1 else "."),
        caption="Each level's accuracy over all configurations that have it."
        + (f" Of {constant} only one level was tried." if constant else ""),
        decimals=2,
    )


def results(evidence: Evidence) -> HTML:
    """Table 1: every configuration of the design, finished or not, linked to its runs."""
    design = pd.DataFrame(
        [
            {"number": s.number, "freeze": s.freeze, "head": s.head, "scheduler": s.scheduler}
            for s in evidence.planned
        ]
    ).drop_duplicates()
    scores = {
        "validation_accuracy": "validation accuracy",
        "test_accuracy": "test accuracy",
        "test_precision": "test precision",
        "test_recall": "test recall",
        "test_f1": "test F1",
    }
    frame = design.merge(evidence.configurations[["number", *scores]], how="left", on="number")
    frame["head"] = frame["head"].map(HEAD_WORDS)
    frame["runs"] = [_seeds(evidence, n) for n in frame["number"]]
    # What most come for stands before what a narrow screen cuts off.
    accuracies, others = list(scores)[:2], list(scores)[2:]
    order = ["number", *accuracies, "runs", "freeze", "scheduler", "head", *others]
    finding = f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished."
    if evidence.finished:
        chosen, best = (f"{part}_accuracy" for part in ("validation", "test"))
        finding += (
            f" Highest on validation: {findings.leaders(frame, chosen)} "
            f"({number(frame[chosen].max())} %); on the test set: {findings.leaders(frame, best)} "
            f"({number(frame[best].max())} %)."
        )
    return table(
        frame[order].rename(columns=FACTOR_HEADINGS | scores),
        "table-1-results",
        finding=finding,
        caption=(
            "In per cent, means over the seeds. Validation chose the epoch; the test set played no "
            "part in any choice. Precision, recall and F1 are means over the classes."
        ),
        filters=["head", "frozen stages", "scheduler"],
    )


def _seeds(evidence: Evidence, n: int) -> Markup:
    """The runs of a configuration: links where they have a page, and what went wrong."""
    cells = []
    for settings in evidence.planned:
        if settings.number == n:
            status = evidence.status(settings.run_id)
            name = f"seed {settings.seed}" + ("" if status == "done" else f": {status}")
            cells.append(link(evidence.page(settings.run_id), name))
    return Markup(", ").join(cells)


def run_grids(studies: Sequence[Evidence]) -> HTML:
    """The runs of each study of the book."""
    return HTML(Markup().join(Markup(run_grid(study).data) for study in studies))


def run_grid(evidence: Evidence) -> HTML:
    """All runs on one screen: freeze by head and schedule, each with its test accuracy."""
    accuracy = evidence.runs.set_index("run_id")["test_accuracy"]

    def word(run: str) -> str:
        known = run in accuracy
        return f"{number(accuracy[run])}\u00a0%" if known else evidence.status(run)

    def cell(freeze: int, head: str, scheduler: str) -> Markup:
        runs = [
            settings
            for settings in evidence.planned
            if (settings.freeze, settings.head, settings.scheduler) == (freeze, head, scheduler)
        ]
        there = [run for run in runs if evidence.status(run.run_id) != "missing"]
        cells = [link(evidence.page(run.run_id), word(run.run_id)) for run in there]
        if left := len(runs) - len(there):
            cells.append("missing" if left == 1 else f"{left} missing")
        return Markup(", ").join(cells)

    frame = pd.DataFrame(
        {
            "freeze": freeze,
            **{
                f"{HEAD_WORDS[head]}, {scheduler}": cell(freeze, head, scheduler)
                for head in evidence.design.factors.head
                for scheduler in evidence.design.factors.scheduler
            },
        }
        for freeze in evidence.design.factors.freeze
    )
    return table(
        frame,
        f"run-grid-{evidence.reference.rsplit('/', 1)[-1]}",
        finding=f"{evidence.design.title}: {len(evidence.finished)} of {len(evidence.planned)} "
        "runs are finished.",
        caption="Accuracy on the test set, one entry a seed; a link leads to the run's page.",
    )


def protocol(evidence: Evidence) -> HTML:
    """Every fixed setting, ours beside the source's."""
    ours, theirs = evidence.design.protocol, load_study("paper").protocol
    frame = pd.DataFrame(
        {
            "setting": name,
            "this study": str(getattr(ours, name)),
            "the source (study paper)": str(getattr(theirs, name)),
            "meaning": (field.description or "").replace("`", ""),
        }
        for name, field in Protocol.model_fields.items()
    )
    same = frame["this study"] == frame["the source (study paper)"]
    return table(
        frame.loc[same.sort_values(kind="stable").index],
        "protocol",
        finding=f"{(~same).sum()} of {len(frame)} settings differ from the source's protocol.",
        caption="Those that differ come first. The same code reads both columns from YAML.",
    )


def models(evidence: Evidence) -> HTML:
    """Table 2: plainest guess, baseline, best classical, best fine-tuned, published elsewhere."""
    frame = Analysis(evidence).comparison
    ours = (frame["source"] == comparison.THIS_STUDY).sum()
    names = {"low": "from, %", "high": "to, %", "images": "test images"}
    return table(
        frame.rename(columns=QUALITY | names),
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


def candidates(evidence: Evidence) -> HTML:
    """The whole grid of classical models, by cross-validated accuracy."""
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
