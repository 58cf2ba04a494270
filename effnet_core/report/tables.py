"""The book's tables. Each says in its title what it shows, and comes as CSV as well."""

import json
from dataclasses import asdict

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.report import claims, comparison, findings, published, statistics
from effnet_core.report.claims import Judgement
from effnet_core.report.evidence import HEAD_WORDS, Evidence
from effnet_core.report.html import link, number, paragraph, table
from effnet_core.study.design import HEADS, SCHEDULERS, Protocol, load_study

FACTOR_HEADINGS = {"number": "model", "head": "extra layers", "freeze": "frozen stages"}
QUALITY = {"accuracy": "accuracy, %", "precision": "precision, %", "recall": "recall, %"}


def published_results() -> HTML:
    """The source's Table 1, as published."""
    frame = published.results()
    order = ["number", "head", "freeze", "scheduler", *QUALITY]
    shown = frame.assign(head=frame["head"].map(HEAD_WORDS))[order]
    return table(
        shown.rename(columns=FACTOR_HEADINGS | QUALITY),
        "published-results",
        finding=f"Highest published accuracy: {findings.leaders(frame, 'accuracy')}.",
        caption="Published Table 1, row for row: the best of each cycle, on the validation set.",
        decimals=2,
    )


def published_comparison() -> HTML:
    """The source's Table 2, as published."""
    names = {"baseline": "baseline", "best_ml": "best classical", "best_dl": "best fine-tuned"}
    values = published.comparison()
    lead = values["best_dl"] - values["best_ml"]
    return table(
        values.rename(names).rename_axis("model").reset_index().rename(columns=QUALITY),
        "published-comparison",
        finding=f"The best network is {number(lead)} points above the best classical model.",
        caption="Published Table 2, row for row.",
    )


def published_means() -> HTML:
    """What follows from the source's Table 1 by factor."""
    means = statistics.factor_means(published.results())
    return _factor_means(means, "published-means")


def factor_means(evidence: Evidence) -> HTML:
    """Our test accuracy by factor."""
    if not evidence.finished:
        return findings.nothing_yet(evidence)
    return _factor_means(statistics.factor_means(evidence.configurations), "factor-means")


def _factor_means(means: pd.DataFrame, name: str) -> HTML:
    span = means.groupby("factor")["mean"].agg(lambda values: values.max() - values.min())
    order = span.sort_values(ascending=False)
    return table(
        means.rename(columns={"mean": "mean accuracy, %"}),
        name,
        finding=(
            f"Mean accuracy differs most between the levels of {order.index[0]} "
            f"({number(order.iloc[0])} points) and least between those of {order.index[-1]} "
            f"({number(order.iloc[-1])} points)."
        ),
        caption="Each level's accuracy over all configurations that have it.",
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
    order = ["number", "head", "freeze", "scheduler", "runs", *scores]
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
            "In per cent. Validation chose the epoch; the test set had no say in anything. "
            "Precision, recall and F1 are means over the classes. Several seeds: means over them."
        ),
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
                for head in HEADS
                for scheduler in SCHEDULERS
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
    different = (frame["this study"] != frame["the source (study paper)"]).sum()
    return table(
        frame,
        "protocol",
        finding=f"{different} of {len(frame)} settings differ from the source's protocol.",
        caption="The same code reads both columns from studies/*.yml.",
    )


def models(evidence: Evidence) -> HTML:
    """Table 2: plainest guess, baseline, best classical, best fine-tuned, published."""
    frame = comparison.models(evidence)
    ours = (frame["source"] == comparison.OURS).sum()
    names = {"low": "from, %", "high": "to, %", "images": "test images"}
    return table(
        frame.rename(columns=QUALITY | names),
        "table-2-comparison",
        finding=f"{ours} of {len(frame)} models are measured here; the others are published.",
        caption=(
            "Accuracy on the test set with its 95 % interval (Wilson). The published figures rest "
            "on another split and other labels of the same images."
        ),
    )


def candidates(evidence: Evidence) -> HTML:
    """The whole grid of classical models, by cross-validated accuracy."""
    if "classical" not in evidence.classical:
        return findings.nothing_yet(evidence, "classical model")
    outcome = evidence.classical["classical"].outcome
    frame = pd.DataFrame([candidate.model_dump() for candidate in outcome.candidates])
    frame["options"] = frame["options"].map(_options)
    names = {"cv_accuracy": "accuracy, %", "cv_sd": "spread, points"}
    return table(
        frame.sort_values("cv_accuracy", ascending=False).rename(columns=names),
        "classical-candidates",
        finding=(
            f"Of {len(frame)} classical models, {outcome.classifier} on {outcome.features} is the "
            "best in cross-validation."
        ),
        caption="Cross-validation on the training images; spread: standard deviation over folds.",
    )


def conclusions(evidence: Evidence) -> HTML:
    """Each conclusion of the source with its verdict on the published table and on ours."""
    judged = list(zip(claims.of_published(), claims.of_study(evidence), strict=True))
    frame = pd.DataFrame(
        {
            "the source's conclusion": theirs.claim.statement,
            "the published table": _verdict(theirs),
            "this study": _verdict(ours),
        }
        for theirs, ours in judged
    )
    same = sum(theirs.verdict == ours.verdict for theirs, ours in judged)
    return table(
        frame,
        "conclusions",
        finding=f"{same} of {len(frame)} conclusions get the same verdict from both.",
        caption=(
            "A gain counts when its 95 % interval lies above zero; “no gain” when the interval "
            f"reaches zero and ends below {claims.SMALLEST_GAIN} points: less would not matter."
        ),
        data=pd.DataFrame(
            {"claim": j.claim.statement, "data": data, "verdict": j.verdict, **asdict(j.estimate)}
            for pair in judged
            for data, j in zip(("published table", "this study"), pair, strict=True)
        ),
    )


def _verdict(judgement: Judgement) -> Markup:
    return Markup("<strong>{}</strong>: {}").format(
        judgement.verdict, findings.interval(judgement.estimate)
    )


def methods(evidence: Evidence) -> HTML:
    """How each verdict was reached."""

    def rows(data: str, judged: list[Judgement]) -> list[dict[str, object]]:
        return [
            {
                "measured": judgement.claim.effect,
                "data": data,
                "method": judgement.estimate.method,
                "n": judgement.estimate.n,
            }
            for judgement in judged
        ]

    frame = pd.DataFrame(
        rows("published table", claims.of_published())
        + rows("this study", claims.of_study(evidence))
    )
    return table(
        frame,
        "methods",
        finding=f"{frame['method'].nunique()} methods decide the verdicts.",
        caption="n: pairs of configurations, configurations, or images.",
    )


def machine(evidence: Evidence) -> HTML:
    """Hardware and versions, each value with the number of records that name it."""
    rows = [
        {"what": group, "name": name, "value": value}
        for record in evidence.everything
        for group, values in (
            ("hardware", record.made.hardware),
            ("version", record.made.versions),
            ("commit", {"git": record.made.commit}),
        )
        for name, value in values.items()
    ]
    frame = pd.DataFrame(rows, columns=["what", "name", "value"])
    frame = frame.groupby(["what", "name", "value"]).size().rename("records").reset_index()
    mixed = frame.groupby(["what", "name"]).size().gt(1).sum()
    return table(
        frame,
        "machine",
        finding=f"The records differ in {mixed} of these lines.",
        caption="One line a value; the last column says how many records it stands in.",
    )


def fingerprints(evidence: Evidence) -> HTML:
    """What decided the outcome besides the settings, as sha256."""
    rows = [
        {"what": name, "sha256": value}
        for record in evidence.everything
        for name, value in record.fingerprints.model_dump().items()
    ]
    frame = pd.DataFrame(rows, columns=["what", "sha256"])
    frame = frame.groupby(["what", "sha256"]).size().rename("records").reset_index()
    return table(
        frame,
        "fingerprints",
        finding=f"{len(frame)} different fingerprints in {len(evidence.everything)} records.",
        caption="Equal fingerprints mean equal bytes. Each seed has a split of its own.",
    )


def run_times(evidence: Evidence) -> HTML:
    """Every run: how long it took, and the command that repeats it."""
    made = evidence.runs.set_index("run_id")[["train_seconds", "total_seconds", "memory_mb"]]
    frame = pd.DataFrame({"run": s.run_id, "command": _command(s)} for s in evidence.planned)
    frame = frame.merge(made, how="left", left_on="run", right_index=True)
    names = {
        "train_seconds": "training, s",
        "total_seconds": "in all, s",
        "memory_mb": "memory, MB",
    }
    total = frame["total_seconds"].sum() / 60
    return table(
        frame[["run", *names, "command"]].rename(columns=names),
        "run-times",
        finding=f"The finished runs took {number(total)} minutes one after the other.",
        caption="Each command repeats one run, from the repository's folder.",
    )


def _command(settings: object) -> Markup:
    parts = " ".join(
        f"-p {name} {getattr(settings, name)}"
        for name in ("study", "freeze", "head", "scheduler", "seed")
    )
    return Markup("<code>papermill notebooks/train.ipynb {}</code>").format(parts)


def missing(evidence: Evidence) -> HTML:
    """Runs that are not part of the report, and why."""
    rows = [
        {"run": s.run_id, "why": evidence.failures.get(s.run_id, evidence.status(s.run_id))}
        for s in evidence.unfinished
    ]
    rows += [{"run": "a damaged record", "why": message} for message in evidence.damaged]
    if not rows:
        return paragraph([f"Nothing: all {len(evidence.planned)} planned runs are here."])
    frame = pd.DataFrame(rows, columns=["run", "why"])
    return table(
        frame,
        "missing",
        finding=f"{len(evidence.unfinished)} of {len(evidence.planned)} runs are not here.",
        caption=f"To make up for them: effnet sweep {evidence.design.name}.",
    )


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())
