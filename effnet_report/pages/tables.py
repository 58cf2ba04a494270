"""The book's tables. Each says in its title what it shows, and comes as CSV as well."""

import json

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import FACTORS, HEAD_WORDS, Protocol, load_study
from effnet_core.study.records import classical_id
from effnet_report.evidence import comparison, source
from effnet_report.evidence.evidence import Evidence, configuration_means
from effnet_report.inference import claims, contrasts
from effnet_report.inference import simulation as simulated
from effnet_report.inference.claims import Judgement
from effnet_report.inference.wording import interval
from effnet_report.pages import findings
from effnet_report.render.finding import finding, nothing_yet
from effnet_report.render.html import DASH, link, number, paragraph, table, write_to_site

SIMULATE = "<code>python -m effnet_report.inference.simulation</code>"
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


def run_grid(evidence: Evidence) -> HTML:
    """All runs on one screen: freeze by head and schedule, each with its test accuracy."""
    accuracy = evidence.runs.set_index("run_id")["test_accuracy"]

    def cell(freeze: int, head: str, scheduler: str) -> Markup:
        runs = [
            settings
            for settings in evidence.planned
            if (settings.freeze, settings.head, settings.scheduler) == (freeze, head, scheduler)
        ]
        words = [
            f"{number(accuracy[s.run_id])} %" if s.run_id in accuracy else evidence.status(s.run_id)
            for s in runs
        ]
        return Markup(", ").join(
            link(evidence.page(s.run_id), text) for s, text in zip(runs, words, strict=True)
        )

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
        "run-grid",
        finding=f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished.",
        caption="Accuracy on the test set, one entry a seed; each leads to the run's page.",
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
    frame = comparison.models(evidence)
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


def conclusions(evidence: Evidence) -> HTML:
    """Each conclusion with its verdict on this study, beside the source's table."""
    judged = list(zip(claims.of_study(evidence), claims.of_source(), strict=True))
    frame = pd.DataFrame(
        {
            "conclusion": ours.claim.statement,
            "drawn by": "the source" if ours.key in claims.SOURCES else "this report",
            "this study": _verdict(ours, "interval"),
            "the source's table: consistent over its configurations?": _verdict(
                theirs, "consistency interval"
            ),
        }
        for ours, theirs in judged
    )
    verdicts = [ours.verdict for ours, _ in judged]
    margin = number(evidence.design.smallest_effect)
    return table(
        frame,
        "conclusions",
        finding=(
            f"Of {len(verdicts)} conclusions, this study supports {verdicts.count('supported')}, "
            f"contradicts {verdicts.count('contradicted')} and leaves "
            f"{verdicts.count('inconclusive')} open."
        ),
        caption=(
            "A gain is supported when its 95 % interval lies above zero and reaches "
            f"{margin} points, the smallest effect of interest; it is contradicted when the "
            f"interval ends below {margin}. The source's table holds one run per configuration: "
            "it cannot say whether an effect would hold for other trainings. As data: "
        )
        + _verdict_files(evidence),
        data=pd.DataFrame(
            {"data": data, **row}
            for data, part in zip(
                ("this study", "source's table"), zip(*judged, strict=True), strict=True
            )
            for row in claims.as_records(list(part))
        ),
    )


def _verdict(judgement: Judgement, kind: str) -> Markup:
    return Markup("<strong>{}</strong>: {}").format(
        judgement.verdict, interval(judgement.estimate, judgement.claim.unit, kind)
    )


def _verdict_files(evidence: Evidence) -> Markup:
    """Links to the verdicts as JSON, which are put beside the pages."""
    files = {
        "claims.json": (claims.of_study(evidence), "this study"),
        "source-claims.json": (claims.of_source(), "the source's table"),
    }
    return Markup(", ").join(
        link(write_to_site("data", name, claims.as_json(judged)), words)
        for name, (judged, words) in files.items()
    ) + Markup(".")


def methods(evidence: Evidence) -> HTML:
    """How each verdict on this study was reached."""
    judged = claims.of_study(evidence)
    frame = pd.DataFrame(
        {
            "measured": j.claim.measured,
            "seeds": j.estimate.seeds,
            "images": j.estimate.images or DASH,
            "degrees of freedom": j.estimate.freedom,
            "p": number(j.estimate.p, 3),
            "p after Holm": number(j.adjusted_p, 3),
            "method": j.estimate.method,
        }
        for j in judged
    )
    left = sum(j.adjusted_p < 1 - contrasts.LEVEL for j in judged)
    return table(
        frame,
        "methods",
        finding=f"After correction for their number, {left} of {len(judged)} p stay below "
        f"{number(100 * (1 - contrasts.LEVEL), 0)} %.",
        caption=(
            "p: probability of a result at least as far from no effect, if there were none; for "
            "the deepest freeze, from a loss of the size that matters. It comes from the same t as "
            f"the interval. {claims.by_chance(judged)}"
        ),
    )


def simulation() -> HTML:
    """How often the intervals cover the truth in simulated studies."""
    path = simulated.result()
    if not path.is_file():
        return paragraph(["The simulation has not been run yet:", Markup(SIMULATE)])
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        (
            "measured effects" if case["effects"] else "no effects",
            simulated.title(case["seeds"], case["folds"]),
        ): case["covered"]
        for case in found["cases"]
    }
    data = pd.DataFrame(rows).rename_axis("claim")
    ranges = {
        effects: data[effects].agg(["min", "max"], axis="columns").apply(
            lambda row: f"{number(row['min'])} to {number(row['max'])}", axis="columns"
        )
        for effects in data.columns.levels[0]
    }  # fmt: skip
    null = data["no effects"].loc["all choices"]
    alone = data.drop(index="all choices")
    return table(
        pd.DataFrame(ranges).reset_index(),
        "simulation",
        finding=(
            f"95 % intervals cover the truth in {number(alone.min().min())} to "
            f"{number(alone.max().max())} % of simulated studies; without any effect, at most "
            f"{number(100 - null.min())} % of them show a clear choice."
        ),
        caption=Markup(
            "Per cent of {} studies, lowest and highest over {}: new seeds and new images from a "
            "model of who is right on what, fitted to {}. All choices: the eight intervals of the "
            "first page, all of them at once. {} To repeat it: {}."
        ).format(
            f"{found['replicates']:,}",
            ", ".join(data["no effects"].columns),
            found["study"],
            _outside(alone),
            Markup(SIMULATE),
        ),
        data=data.set_axis([", ".join(c) for c in data.columns], axis="columns").reset_index(),
    )


def _outside(covered: pd.DataFrame) -> str:
    """Which intervals cover less, or more, often than wanted in some case; one row a claim."""
    low, high = simulated.WANTED
    narrow = covered.index[(covered < low).any(axis="columns")]
    wide = covered.index[(covered > high).any(axis="columns")]
    return (
        f"Less than {number(low, 0)} % in some case: {', '.join(narrow) or 'none'}. More than "
        f"{number(high, 0)} %, so that it is wider than need be: {', '.join(wide) or 'none'}."
    )


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())
