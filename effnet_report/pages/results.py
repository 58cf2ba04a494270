"""The page Results: every configuration, what the factors change, and what a run costs."""

import textwrap
from statistics import fmean

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import (
    FREEZE,
    HEAD_WORDS,
    HEADS,
    SCHEDULERS,
)
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.comparison import accuracy_interval
from effnet_report.numbers import number
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import factors, html
from effnet_report.render.drawing import (
    COLOUR,
    INK,
    LINE,
    MARKER,
    OURS,
    by_head_and_scheduler,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.html import finding, link, table


def answer(analysis: Analysis) -> HTML:
    """The spread of the results, against what the size of the test set can tell apart."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    runs = evidence.runs
    accuracy = fmean(record.outcome.test.accuracy for record in evidence.best)
    tested = len(evidence.correct(evidence.best))  # with folds, more than one run has tested
    low, high = accuracy_interval(accuracy, tested)
    optimism = analysis.judgement["optimism"]
    return finding(
        f"{len(runs)} runs reach between {number(runs['test_accuracy'].min())} and "
        f"{number(runs['test_accuracy'].max())} % accuracy on the test set.",
        f"With {tested:,} test images, an accuracy of {number(accuracy)} % has a 95 % interval of "
        f"{number(low)} to {number(high)} % for other images.",
        optimism.sentence,
        *coverage(evidence),
    )


def table_1(analysis: Analysis) -> HTML:
    """Table 1: every configuration of the design, finished or not, linked to its runs."""
    evidence = analysis.evidence
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
            f" Highest on validation: {factors.leaders(frame, chosen)} "
            f"({number(frame[chosen].max())} %); on the test set: {factors.leaders(frame, best)} "
            f"({number(frame[best].max())} %)."
        )
    return table(
        frame[order].rename(columns=factors.HEADINGS | scores),
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


@needs_runs
def configurations(analysis: Analysis) -> HTML:
    """Every configuration with its seeds as points, the best on top."""
    evidence = analysis.evidence
    runs = evidence.runs
    ranked = evidence.configurations.sort_values("accuracy").reset_index(drop=True)
    places = pd.Series(ranked.index, index=ranked["number"])
    figure = canvas(7.2, 1.2 + 0.2 * len(ranked))
    axes = figure.subplots()
    for head, scheduler, group in by_head_and_scheduler(runs):
        axes.plot(
            group["accuracy"], places[group["number"]], MARKER[head], color=COLOUR[scheduler],
            markerfacecolor=COLOUR[scheduler] if head == "none" else "white",
            label=factors.label(head, scheduler, group),
        )  # fmt: skip
    axes.plot(ranked["accuracy"], ranked.index, "|", color=INK, markersize=9, label="mean")
    words = [f"{row.number}: freeze {row.freeze}" for row in ranked.itertuples()]
    axes.set_yticks(ranked.index, words, fontsize=8)
    axes.set_xlabel("test accuracy, %")
    legend(figure, axes)
    spread = runs.groupby("number")["accuracy"].agg(lambda seeds: seeds.max() - seeds.min())
    between = ranked["accuracy"].iloc[-1] - ranked["accuracy"].iloc[0]
    finding = f"The means of the {len(ranked)} configurations span {number(between)} points"
    if spread.max() > 0:
        finding += (
            f"; seeds of one configuration differ by {number(spread.median())} points (median)"
        )
    return html.figure(
        figure,
        "configurations",
        finding=f"{finding}.",
        caption="Each point is one run; the stroke is the mean of its configuration's seeds.",
        alt=sentences(runs, "{run_id}: {accuracy:.1f} %"),
        data=runs[["run_id", "number", "freeze", "head", "scheduler", "seed", "accuracy"]],
    )


@needs_runs
def heat_map(analysis: Analysis) -> HTML:
    """Test accuracy of every configuration: freeze by head and schedule."""
    evidence = analysis.evidence
    means = evidence.configurations
    table = means.pivot(index="freeze", columns=["head", "scheduler"], values="accuracy")
    tried = evidence.design.factors
    columns = [
        (h, s) for h in HEADS for s in SCHEDULERS if h in tried["head"] and s in tried["scheduler"]
    ]
    table = table.reindex(columns=pd.MultiIndex.from_tuples(columns))
    figure = canvas(7.2, 3.8)
    axes = figure.subplots()
    axes.grid(visible=False)
    sns.heatmap(
        table, annot=True, fmt=".1f", cmap="cividis", linewidths=1, ax=axes,
        cbar_kws={"label": "test accuracy, %"},
    )  # fmt: skip
    words = [f"{textwrap.fill(HEAD_WORDS[head], 18)},\n{scheduler}" for head, scheduler in columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, words, rotation=0)
    axes.set_xlabel("")
    axes.set_ylabel("frozen stages")
    axes.tick_params(axis="y", rotation=0)
    ranked = means.sort_values("accuracy")["accuracy"]
    return html.figure(
        figure,
        "heat-map",
        finding=(
            f"The best configuration ({number(ranked.iloc[-1])} %) is "
            f"{number(ranked.iloc[-1] - ranked.iloc[0])} points above the worst."
        ),
        caption="Accuracy on the test set, per cent. An empty cell has no finished run.",
        alt=sentences(
            means.replace({"head": HEAD_WORDS}),
            "freeze {freeze}, {head}, {scheduler}: {accuracy:.1f} %",
        ),
        data=means[["number", "freeze", "head", "scheduler", "accuracy"]],
    )


@needs_runs
def interaction(analysis: Analysis) -> HTML:
    """Whether head and schedule matter more at some freeze depths than at others."""
    evidence = analysis.evidence
    configurations = evidence.configurations
    figure = canvas(7.2, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    styles = {
        "head": {level: (OURS, MARKER[level], LINE[level], HEAD_WORDS[level]) for level in HEADS},
        "scheduler": {level: (COLOUR[level], "o", "-", level) for level in SCHEDULERS},
    }
    tables, gaps = [], []
    for (factor, levels), axes in zip(styles.items(), panels, strict=True):
        means = configurations.pivot_table(index="freeze", columns=factor, values="accuracy")
        for level, (colour, marker, line, word) in levels.items():
            if level in means:
                axes.plot(
                    means.index, means[level], marker=marker, linestyle=line, color=colour,
                    markerfacecolor="white" if level == "mlp" else colour, label=word,
                )  # fmt: skip
        axes.set_xlabel("frozen stages")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        gap = (means.iloc[:, -1] - means.iloc[:, 0]).abs()
        if means.shape[1] > 1:
            gaps.append(f"{factor}s differ by {number(gap.min())} to {number(gap.max())} points")
        else:
            gaps.append(f"only one {factor} was tried")
        tables.append(means.melt(ignore_index=False, var_name="level", value_name="accuracy"))
    panels[0].set_ylabel("mean test accuracy, %")
    data = pd.concat(tables).reset_index()
    return html.figure(
        figure,
        "interaction",
        finding=f"At the same freeze depth, {' and '.join(gaps)}.",
        caption="Where lines run parallel, the choice matters equally at every depth.",
        alt=sentences(data, "freeze {freeze}, {level}: {accuracy:.1f} %"),
        data=data,
    )


@needs_runs
def freezing(analysis: Analysis) -> HTML:
    """Our accuracies by number of frozen stages."""
    evidence = analysis.evidence
    caption = "Each point is one run: its accuracy on the test set. The line joins the means."
    return factors.freezing(evidence.runs, "freezing", caption)


def factor_means(analysis: Analysis) -> HTML:
    """Our test accuracy by factor."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    return factors.means(evidence.runs, evidence.factors, "factor-means")


@needs_runs
def learning_curves(analysis: Analysis) -> HTML:
    """Validation accuracy by epoch, one panel a freeze."""
    evidence = analysis.evidence
    history, runs = evidence.history, evidence.runs
    depths = sorted(evidence.design.factors["freeze"])
    rows, columns = (1, len(depths)) if len(depths) <= 3 else (2, -(-len(depths) // 2))
    figure = canvas(7.2, 0.6 + 2 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for freeze, axes in zip(depths, panels.flat, strict=False):
        shown = history[history["freeze"] == freeze]
        for head, scheduler, group in by_head_and_scheduler(shown):
            for _, run in group.groupby("seed"):
                axes.plot(
                    run["epoch"], run["validation_accuracy"], LINE[head], marker=MARKER[head],
                    markersize=3, color=COLOUR[scheduler],
                    label=f"{HEAD_WORDS[head]}, {scheduler}",
                )  # fmt: skip
        axes.set_title(f"freeze {freeze}", fontsize=10)
    for axes in panels.flat[len(depths) :]:
        axes.axis("off")
    for axes in panels[:, 0]:
        axes.set_ylabel("validation accuracy, %")
    panels[0, 0].set_xticks(sorted(history["epoch"].unique())[:: 1 + history["epoch"].max() // 6])
    for axes in panels.flat[max(0, len(depths) - columns) : len(depths)]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    legend(figure, *panels.flat)
    return html.figure(
        figure,
        "learning-curves",
        finding=(
            f"In the median run the best epoch is number {number(runs['best_epoch'].median(), 0)}; "
            f"{runs['stopped_early'].sum()} of {len(runs)} runs stopped early."
        ),
        caption="Accuracy on the validation set after each epoch, one line a run.",
        alt=sentences(runs, "{run_id}: best epoch {best_epoch}, {validation_accuracy:.1f} %"),
        data=history,
    )


@needs_runs
def learning_rates(analysis: Analysis) -> HTML:
    """Whether the plateau schedule ever acted: the rate of every run over time."""
    evidence = analysis.evidence
    history = evidence.history.copy()
    rates = history["learning_rate"]
    history["share"] = 100 * rates / rates.groupby(history["run_id"]).transform("first")
    table = history.pivot_table(
        index=["scheduler", "number", "seed"], columns="epoch", values="share"
    ).sort_index(ascending=[False, True, True])
    figure = canvas(7.2, 1.2 + 0.18 * len(evidence.configurations))
    axes = figure.subplots()
    axes.grid(visible=False)
    mesh = axes.pcolormesh(
        np.arange(table.shape[1] + 1) + 0.5, range(len(table) + 1), table,
        cmap="cividis", vmin=0, vmax=100,
    )  # fmt: skip
    figure.colorbar(mesh, label="learning rate, % of the first")
    axes.set_xticks(table.columns)
    axes.set_xlabel("epoch")
    groups = table.groupby(level="scheduler", sort=False).size()
    ends = groups.cumsum()
    for boundary in ends[:-1]:
        axes.axhline(boundary, color="white", linewidth=3)
    axes.set_yticks(ends - groups / 2, groups.index)
    axes.invert_yaxis()
    plateau = evidence.runs.query("scheduler == 'plateau'")
    acted, seen = plateau["rate_dropped"].sum(), len(plateau)
    return html.figure(
        figure,
        "learning-rates",
        finding=f"The plateau schedule lowered its rate in {acted} of {seen} runs.",
        caption=(
            "One line a run, in the order of Table 1; white where a run had stopped. Where plateau "
            "never acts it is a constant rate."
        ),
        alt=sentences(
            evidence.runs.assign(
                rate=np.where(evidence.runs["rate_dropped"], "lowered", "never lowered")
            ),
            "{run_id}: {epochs} epochs, rate {rate}",
        ),
        data=history[["run_id", "scheduler", "epoch", "learning_rate"]],
    )


@needs_runs
def cost(analysis: Analysis) -> HTML:
    """Test accuracy against training time and memory, with the configurations that none beats."""
    evidence = analysis.evidence
    means = evidence.configurations
    figure = canvas(7.2, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    colours = sns.color_palette("cividis", len(FREEZE))
    for axes, column, label in (
        (left, "cpu_seconds", "CPU time of a training, s"),
        (right, "memory_mb", "peak memory of a run, MB"),
    ):
        for freeze, colour in zip(FREEZE, colours, strict=True):
            group = means[means["freeze"] == freeze]
            axes.plot(
                group[column], group["accuracy"], "o", color=colour,
                markeredgecolor=INK, markeredgewidth=0.5, label=f"freeze {freeze}",
            )  # fmt: skip
        best = front(means, column, "accuracy")
        axes.plot(best[column], best["accuracy"], color=INK, zorder=1, label="nothing is better")
        for row in best.itertuples():
            axes.annotate(
                str(row.number), (getattr(row, column), row.accuracy), fontsize=8,
                xytext=(4, 4), textcoords="offset points",
            )  # fmt: skip
        axes.set_xlabel(label)
    left.set_ylabel("test accuracy, %")
    legend(figure, left)
    unbeaten = front(means, "cpu_seconds", "accuracy")
    cheap, good = unbeaten.iloc[0], unbeaten.iloc[-1]
    finding = f"Configuration {good.number} is both the most accurate and the cheapest."
    if len(unbeaten) > 1:
        finding = (
            f"{len(unbeaten)} of {len(means)} configurations are unbeaten at their cost: from "
            f"{cheap.number} ({number(cheap.accuracy)} % in {number(cheap.cpu_seconds, 0)} s) to "
            f"{good.number} ({number(good.accuracy)} % in {number(good.cpu_seconds, 0)} s)."
        )
    data = means[["number", "freeze", "head", "scheduler", "cpu_seconds", "memory_mb", "accuracy"]]
    return html.figure(
        figure,
        "cost",
        finding=finding,
        caption=(
            "Each point is a configuration; up and left is better. The line joins those that no "
            "other beats at the same or less cost (Pareto front), with their numbers. CPU time "
            "does not count what else the machine did."
        ),
        alt=sentences(unbeaten, "configuration {number}: {accuracy:.1f} % in {cpu_seconds:.0f} s"),
        data=data.assign(unbeaten=data["number"].isin(unbeaten["number"])),
    )


def front(table: pd.DataFrame, cost: str, quality: str) -> pd.DataFrame:
    """The rows that no other row beats in quality at the same or less cost (Pareto front).

    Returns:
        Those rows, from the cheapest to the best.
    """
    ordered = table.sort_values([cost, quality], ascending=[True, False])
    before = ordered[quality].cummax().shift()
    return ordered[before.isna() | (ordered[quality] > before)]
