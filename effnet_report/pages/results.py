"""The page Results: every configuration and run, interactions, learning curves, and cost."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from effnet_report import words
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import contrasts
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.comparison import accuracy_interval
from effnet_report.numbers import DASH, number
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import factors, html
from effnet_report.render.drawing import (
    INK,
    MARKERS,
    OURS,
    SERIES,
    canvas,
    depth_colour,
    legend,
    plain,
    sentences,
)
from effnet_report.render.html import finding, link, paragraph, table

SCORES = {
    "test_accuracy": "test, %",
    "validation_accuracy": "validation, %",
    "test_f1": "F1, %",
}


def answer(analysis: Analysis) -> HTML:
    """The spread of the results, against what the size of the test set can tell apart."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    runs = evidence.runs
    accuracy = fmean(record.outcome.test.accuracy for record in evidence.best)
    tested = len(evidence.correct(evidence.best))  # with folds, more than one run has tested
    low, high = accuracy_interval(accuracy, tested)
    return finding(
        f"Test accuracy ranges from {number(runs['test_accuracy'].min())} to "
        f"{number(runs['test_accuracy'].max())} % over {len(runs)} runs.",
        f"The configuration that is best on validation reaches {number(accuracy)} % on "
        f"{tested:,} test images (95 % CI {number(low)} to {number(high)} for other images).",
        analysis.judgement["optimism"].sentence,
        *coverage(evidence),
    )


def table_1(analysis: Analysis) -> HTML:
    """Table 1: every configuration of the design, finished or not, linked to its runs."""
    evidence = analysis.evidence
    design = pd.DataFrame(
        {"number": settings.number}
        | {name: words.level(name, level) for name, level in settings.levels.items()}
        for settings in evidence.design.configurations()
    )
    means = evidence.configurations.reindex(columns=["number", *SCORES]).astype({"number": int})
    frame = design.merge(means, how="left", on="number")
    frame["seeds"] = [_seeds(evidence, n) for n in frame["number"]]
    title = f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished."
    if evidence.finished:
        best = _leaders(frame, "test_accuracy")
        title = (
            f"{best[:1].upper()}{best[1:]} on the test set; "
            f"{_leaders(frame, 'validation_accuracy')} on validation. {title}"
        )
    headings = {name: words.factor(name) for name in evidence.factors}
    return table(
        frame[["number", *SCORES, *evidence.factors, "seeds"]].rename(
            columns={"number": "model"} | headings | SCORES
        ),
        "table-1-results",
        finding=title,
        caption="Mean accuracy and test F1 over the seeds; the last column links each seed's run. "
        "Validation images chose the epoch, and test images chose nothing.",
        data=frame.drop(columns="seeds"),
        filters=list(headings.values()),
    )


def _leaders(frame: pd.DataFrame, column: str) -> str:
    who = factors.leaders(frame, column)
    verb = "are" if who.startswith("models") else "is"
    return f"{who} {verb} best with {number(frame[column].max())} %"


def _seeds(evidence: Evidence, n: int) -> Markup:
    """The runs of a configuration: links where they have a page, and what went wrong."""
    cells = []
    for settings in evidence.planned:
        if settings.number == n:
            status = evidence.status(settings.run_id)
            name = str(settings.seed) + ("" if status == "done" else f": {status}")
            cells.append(link(evidence.page(settings.run_id), name))
    return Markup(", ").join(cells)


@needs_runs
def configurations(analysis: Analysis) -> HTML:
    """Every configuration with its runs as points, the best on top; colours are depths."""
    evidence = analysis.evidence
    runs = evidence.runs
    ranked = evidence.configurations.sort_values("accuracy").reset_index(drop=True)
    places = pd.Series(ranked.index, index=ranked["number"])
    figure = canvas(7.2, 1.2 + 0.22 * len(ranked))
    axes = figure.subplots()
    for freeze, group in _by_depth(runs):
        axes.plot(
            group["accuracy"], places[group["number"]], "o", color=depth_colour(freeze),
            label=f"freeze {freeze}",
        )  # fmt: skip
    axes.plot(ranked["accuracy"], ranked.index, "|", color=INK, markersize=10, label="mean")
    named = {s.number: words.configuration(s.levels) for s in evidence.design.configurations()}
    named = {n: name.replace(words.level("head", "mlp"), "two layers") for n, name in named.items()}
    axes.set_yticks(ranked.index, [plain(f"{n}: {named[n]}", 52) for n in ranked["number"]])
    axes.set_xlabel(f"test {evidence.metric}, %")
    legend(figure, axes)
    spread = runs.groupby("number")["accuracy"].agg(lambda seeds: seeds.max() - seeds.min())
    between = ranked["accuracy"].iloc[-1] - ranked["accuracy"].iloc[0]
    title = f"The means of {len(ranked)} configurations span {number(between)} points"
    if spread.max() > 0:
        title += f"; seeds of one configuration span {number(spread.median())} (median)"
    return html.figure(
        figure,
        "configurations",
        finding=f"{title}.",
        caption="Each point is one run, and the stroke is the mean of its configuration's seeds.",
        alt=sentences(runs, "{run_id}: {accuracy:.1f} %"),
        data=runs[["run_id", "number", *evidence.factors, "seed", "accuracy"]],
    )


def _by_depth(runs: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Runs by number of frozen stages; all under 0 where that is no factor."""
    if "freeze" not in runs:
        return [(0, runs)]
    return [(int(str(freeze)), group) for freeze, group in runs.groupby("freeze")]


@needs_runs
def interaction(analysis: Analysis) -> HTML:
    """Whether another choice matters more at some depths than at others."""
    evidence = analysis.evidence
    main, *others = _main_first(analysis) or [""]
    if not others:
        return paragraph(["This study varies one choice, so there is no interaction to show."])
    levels = contrasts.levels(analysis.correctness.design, main)
    figure = canvas(7.2, 3.1 * -(-len(others) // 2) + 0.6)
    panels = figure.subplots(-(-len(others) // 2), min(2, len(others)), sharey=True, squeeze=False)
    tables, gaps = [], []
    for factor, axes in zip(others, panels.flat, strict=False):
        means = evidence.configurations.pivot_table(
            index=main, columns=factor, values="accuracy", sort=False
        )
        for place, level in enumerate(means):
            axes.plot(
                means.index.map(levels.index), means[level], marker=MARKERS[place % len(MARKERS)],
                color=SERIES[place % len(SERIES)], label=plain(words.level(factor, level), 34),
            )  # fmt: skip
        axes.set_xticks(range(len(levels)), [plain(words.level(main, one), 12) for one in levels])
        axes.set_xlabel(words.factor(main))
        axes.set_title(words.factor(factor), loc="left", fontsize=11)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
        gap = means.max(axis=1) - means.min(axis=1)
        gaps.append(
            f"by {number(gap.min())} to {number(gap.max())} points with the {words.factor(factor)}"
        )
        melted = means.melt(ignore_index=False, var_name="level", value_name="accuracy")
        tables.append(melted.assign(factor=factor))
    for axes in panels.flat[len(others) :]:
        axes.axis("off")
    panels[0, 0].set_ylabel(f"mean test {evidence.metric}, %")
    data = pd.concat(tables).reset_index()
    named = data.assign(at=[words.full_level(main, level) for level in data[main]])
    where = "depth" if main == "freeze" else words.factor(main)
    return html.figure(
        figure,
        "interaction",
        finding=f"At the same {where}, {evidence.metric} changes {' and '.join(gaps)}.",
        caption=f"Lines that run parallel mean that the choice matters equally at every {where}.",
        alt=sentences(named, "{at}, {level}: {accuracy:.1f} %"),
        data=data,
    )


def _main_first(analysis: Analysis) -> list[str]:
    """What the study varies, the depth first."""
    return sorted(shown.factors_of(analysis), key=lambda name: name != "freeze")


@needs_runs
def simple_effects(analysis: Analysis) -> HTML:
    """What each other choice changes at every depth, with intervals."""
    main, *others = _main_first(analysis) or [""]
    if not others or not analysis.correctness.seeds:
        return paragraph([])  # the drawing above, or the page's first sentence, has said why
    tables = [_effects_at(analysis, factor, main) for factor in others]
    data = pd.concat(tables, ignore_index=True)
    clear = ((data["low"] > 0) | (data["high"] < 0)).sum()
    where = "depth" if main == "freeze" else words.factor(main)
    frame = pd.DataFrame(
        {
            words.factor(main): words.level(main, row["at"]),
            "change": row["change"],
            f"{analysis.evidence.metric}, points": _span(row),
        }
        for row in data.to_dict("records")
    )
    return table(
        frame,
        "effects-by-depth",
        finding=f"{clear} of {len(data)} changes at one {where} are clear.",
        caption=(
            f"The 95 % intervals of one choice hold at every {where} at once, for other trainings "
            "and other images of this kind."
        ),
        data=data,
    )


def _effects_at(analysis: Analysis, factor: str, main: str) -> pd.DataFrame:
    """What a factor changes at each level of the main one; one row per interval."""
    return pd.DataFrame(
        {
            "at": at,
            "change": contrasts.change_words(analysis.estimator, factor, level),
            **asdict(estimate),
        }
        for (at, level), estimate in analysis.simple_effects(factor, main).items()
    )


def _span(row: Mapping[str, Any]) -> str:
    effect = number(row["effect"], sign=True)
    if np.isnan(row["low"]):
        return f"{effect} ({DASH})"
    return f"{effect} ({number(row['low'], sign=True)} to {number(row['high'], sign=True)})"


@needs_runs
def learning_curves(analysis: Analysis) -> HTML:
    """Validation accuracy by epoch: median and middle half of the runs, by depth."""
    evidence = analysis.evidence
    history, runs = evidence.history, evidence.runs
    rows = []
    figure = canvas(7.2, 4)
    axes = figure.subplots()
    for freeze, group in _by_depth(history):
        by_epoch = group.groupby("epoch")["validation_accuracy"]
        curve = by_epoch.quantile([0.25, 0.5, 0.75]).unstack()
        curve = curve[by_epoch.size() >= by_epoch.size().max() / 2]  # of half of the runs at least
        colour = depth_colour(freeze)
        axes.plot(curve.index, curve[0.5], color=colour, label=f"freeze {freeze}", linewidth=2)
        axes.fill_between(curve.index, curve[0.25], curve[0.75], color=colour, alpha=0.15, lw=0)
        rows.append(curve.set_axis(["lower", "median", "upper"], axis=1).assign(freeze=freeze))
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    data = pd.concat(rows).reset_index()
    stopped = int(runs["stopped_early"].sum())
    return html.figure(
        figure,
        "learning-curves",
        finding=(
            f"The median run is best after epoch {number(runs['best_epoch'].median(), 0)}; "
            f"{stopped} of {len(runs)} runs stopped early."
        ),
        caption="Lines are medians over the runs of a depth, bands their middle half; a line ends "
        "where fewer than half of the runs still train.",
        alt=sentences(data, "freeze {freeze}, epoch {epoch}: {median:.1f} %"),
        data=data,
    )


@needs_runs
def learning_rates(analysis: Analysis) -> HTML:
    """What each schedule did: how long runs trained, and how far the rate fell."""
    evidence = analysis.evidence
    rates = evidence.history.groupby("run_id")["learning_rate"]
    last = (100 * rates.last() / rates.first()).rename("last")
    runs = evidence.runs.merge(last, left_on="run_id", right_index=True)
    if "scheduler" not in runs:
        runs = runs.assign(scheduler=str(evidence.design.protocol.scheduler))
    frame = runs.groupby("scheduler", sort=False).agg(
        runs=("run_id", "size"),
        epochs=("epochs", "median"),
        lowered=("rate_dropped", "sum"),
        last=("last", "median"),
    )
    frame = frame.reset_index()
    plateau = frame[frame["scheduler"] == "plateau"]
    title = "How far each schedule lowered its learning rate."
    if len(plateau):
        row = plateau.iloc[0]
        title = f"The plateau schedule lowered its rate in {row.lowered} of {row.runs} runs."
    headings = {
        "scheduler": "schedule",
        "epochs": "median epochs",
        "lowered": "runs that lowered the rate",
        "last": "median last rate, % of the first",
    }
    return table(
        frame.rename(columns=headings),
        "learning-rates",
        finding=title,
        caption="Plateau halves the rate when the validation loss stops improving; where it never "
        "acts, it is a constant rate.",
        data=runs[["run_id", "scheduler", "epochs", "rate_dropped", "last"]],
    )


def front(table: pd.DataFrame, cost: str, quality: str) -> pd.DataFrame:
    """The rows that no other row beats in quality at the same or less cost (Pareto front).

    Returns:
        Those rows, from the cheapest to the best.
    """
    ordered = table.sort_values([cost, quality], ascending=[True, False])
    before = ordered[quality].cummax().shift()
    return ordered[before.isna() | (ordered[quality] > before)]


@needs_runs
def cost(analysis: Analysis) -> HTML:
    """Test accuracy against training time, with the configurations that no other beats."""
    evidence = analysis.evidence
    means = evidence.configurations
    figure = canvas(7.2, 4)
    axes = figure.subplots()
    for freeze, group in _by_depth(means):
        axes.plot(
            group["epoch_seconds"], group["accuracy"], "o", color=depth_colour(freeze),
            markeredgecolor=INK, markeredgewidth=0.5, label=f"freeze {freeze}",
        )  # fmt: skip
    unbeaten = front(means, "epoch_seconds", "accuracy")
    axes.plot(
        unbeaten["epoch_seconds"], unbeaten["accuracy"], color=OURS, zorder=1, label="best so far"
    )
    for row in unbeaten.itertuples():
        axes.annotate(
            str(row.number), (row.epoch_seconds, row.accuracy), xytext=(5, 4),
            textcoords="offset points",
        )  # fmt: skip
    axes.set_xlabel("CPU time per epoch, s")
    axes.set_ylabel(f"test {evidence.metric}, %")
    axes.set_xlim(0, None)
    legend(figure, axes)
    cheap, good = unbeaten.iloc[0], unbeaten.iloc[-1]
    title = f"Configuration {good.number:.0f} is both the most accurate and the cheapest."
    if len(unbeaten) > 1:
        title = (
            f"{len(unbeaten)} of {len(means)} configurations are unbeaten at their cost, from "
            f"{cheap.number:.0f} ({number(cheap.accuracy)} %, {number(cheap.epoch_seconds, 0)} s) "
            f"to {good.number:.0f} ({number(good.accuracy)} %, {number(good.epoch_seconds, 0)} s)."
        )
    data = means[["number", *evidence.factors, "epoch_seconds", "memory_mb", "accuracy"]]
    return html.figure(
        figure,
        "cost",
        finding=title,
        caption="Each point is a configuration; up and left is better. The line joins those that "
        "no other beats at the same or less cost.",
        alt=sentences(
            unbeaten, "configuration {number}: {accuracy:.1f} % in {epoch_seconds:.0f} s"
        ),
        data=data.assign(unbeaten=data["number"].isin(unbeaten["number"])),
    )
