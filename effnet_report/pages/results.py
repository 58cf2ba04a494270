"""The page Results: every configuration and run, interactions, and learning curves."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from effnet_core.study.design import Study, short_number
from effnet_report import words
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import contrasts, outliers
from effnet_report.inference.advice import complete
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.comparison import accuracy_interval
from effnet_report.numbers import DASH, number
from effnet_report.pages import shown
from effnet_report.pages.answer_cards import stages
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import factors, html
from effnet_report.render.drawing import (
    INK,
    MARKERS,
    SERIES,
    canvas,
    depth_colour,
    legend,
    plain,
    sentences,
)
from effnet_report.render.html import apart, finding, link, listing, paragraph, table

SCORES = {
    "test_accuracy": "test, %",
    "validation_accuracy": "validation, %",
    "test_f1": "macro F1, %",
}
COSTS = ("epoch_seconds", "memory_mb")
TRAINED = ("epochs", "best_epoch", "rate_dropped", "stopped_early")


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
        *apart(shown.neighbours(analysis)),
        *apart(shown.other_recipes(analysis)),
        *apart(coverage(evidence)),
    )


def table_1(analysis: Analysis) -> HTML:
    """Table 1: every configuration of the design, finished or not, linked to its runs."""
    evidence = analysis.evidence
    design = pd.DataFrame(
        {"number": settings.number}
        | {name: words.short(words.level(name, level)) for name, level in settings.levels.items()}
        for settings in evidence.design.configurations()
    )
    means = evidence.configurations.reindex(columns=["number", *SCORES, *COSTS])
    means = means.astype({"number": int})
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
        frame[["number", *evidence.factors, *SCORES, "seeds"]].rename(
            columns={"number": "no."} | headings | SCORES
        ),
        "table-1-results",
        finding=title,
        caption="Mean accuracy and test F1 over the seeds; the last column links each seed's run. "
        "Validation images chose the epoch of each run; test images chose no run and no epoch.",
        data=frame.drop(columns="seeds"),
        filters=list(headings.values()),
    )


def far_below(analysis: Analysis) -> HTML:
    """Runs far below the other seeds of their configuration, and what they do to its depth."""
    runs = complete(analysis)
    odd = outliers.far_below(runs)
    if odd.empty:
        return paragraph([])
    raced = [record for record in analysis.evidence.finished if record.outcome.race]
    won = {record.run_id: record.outcome.history[0].learning_rate for record in raced}
    named = [
        f"{run.run_id} ({number(run.accuracy)} %, {number(run.below)} points below"
        + (f"; its race chose {short_number(won[run.run_id])}" if run.run_id in won else "")
        + ")"
        for run in odd.itertuples()
    ]
    effects = [*without(analysis, odd)]
    return paragraph(
        [
            f"{counted(odd, runs)}: {'; '.join(named)}.",
            *effects,
            f"All runs count in all {'other ' if effects else ''}means and intervals.",
        ]
    )


def counted(odd: pd.DataFrame, runs: pd.DataFrame) -> str:
    """As in `2 of 112 runs lie far below the other seeds of their configurations`."""
    if len(odd) == 1:
        return f"1 of {len(runs)} runs lies far below the other seeds of its configuration"
    return f"{len(odd)} of {len(runs)} runs lie far below the other seeds of their configurations"


def without(analysis: Analysis, odd: pd.DataFrame, least: float = 0.0) -> Iterator[str]:
    """How much of what a depth changes is due to runs that are far below the others.

    Args:
        least: points by which leaving the runs out has to move an effect to be told.
    """
    for row in outliers.changes(complete(analysis), odd).itertuples():
        if abs(row.without - row.all) >= least:
            yield (
                f"Without {'it' if len(odd) == 1 else 'them'}, freezing {stages(row.freeze)} "
                f"changes {analysis.evidence.metric} by {number(row.without, sign=True)} instead "
                f"of {number(row.all, sign=True)} points."
            )


def _leaders(frame: pd.DataFrame, column: str) -> str:
    who = factors.leaders(frame, column)
    verb = "are" if who.startswith("configurations") else "is"
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
    figure = canvas(7.2, 1 + 0.17 * len(ranked))
    axes = figure.subplots()
    for freeze, group in _by_depth(runs, evidence.design):
        axes.plot(
            group["accuracy"], places[group["number"]], "o", color=depth_colour(freeze),
            label=f"freeze {freeze}",
        )  # fmt: skip
    axes.plot(ranked["accuracy"], ranked.index, "|", color=INK, markersize=10, label="mean")
    named = {
        settings.number: words.short(words.configuration(settings.levels))
        for settings in evidence.design.configurations()
    }
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
        data=runs[["run_id", "number", *evidence.factors, "seed", "accuracy", *TRAINED]],
    )


def _by_depth(table: pd.DataFrame, design: Study) -> list[tuple[int, pd.DataFrame]]:
    """The rows of a table of runs by number of frozen stages, which may be the same in all."""
    if "freeze" not in table:
        return [(design.protocol.freeze, table)]
    return [(int(str(freeze)), group) for freeze, group in table.groupby("freeze")]


@needs_runs
def interaction(analysis: Analysis) -> HTML:
    """Whether another choice matters more at some depths than at others."""
    evidence = analysis.evidence
    main, *others = _main_first(analysis) or [""]
    if not others:
        return paragraph(["This study varies one choice, so there is no interaction to show."])
    levels = contrasts.levels(analysis.correctness.design, main)
    figure = canvas(7.2, 2.6 * -(-len(others) // 2) + 0.6)
    panels = figure.subplots(-(-len(others) // 2), min(2, len(others)), sharey=True, squeeze=False)
    tables, gaps = [], []
    for factor, axes in zip(others, panels.flat, strict=False):
        means = evidence.configurations.pivot_table(
            index=main, columns=factor, values="accuracy", sort=False
        )
        for index, level in enumerate(means):
            axes.plot(
                means.index.map(levels.index), means[level], marker=MARKERS[index % len(MARKERS)],
                color=SERIES[index % len(SERIES)], label=plain(words.level(factor, level), 34),
            )  # fmt: skip
        axes.set_xticks(range(len(levels)), [plain(words.level(main, tick), 12) for tick in levels])
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
        finding=f"At the same {where}, {evidence.metric} changes {words.joined(gaps)}.",
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
    shown_at = data.assign(
        at=[words.level(main, at) for at in data["at"]],
        change=data["change"] + ", points",
        shown=[_span(row) for row in data.to_dict("records")],
    )
    frame = shown_at.pivot_table("shown", "at", "change", aggfunc="first", sort=False)
    frame = frame.rename_axis(words.factor(main)).reset_index()
    return table(
        frame,
        "effects-by-depth",
        finding=_clear(int(clear), len(data), where),
        caption=(
            f"Change of {analysis.evidence.metric} with 95 % intervals for other trainings and "
            f"other images of this kind, for every {where} at once."
        ),
        data=data,
    )


def _clear(clear: int, changes: int, where: str) -> str:
    if not clear:
        return f"We cannot tell whether another choice helps at any single {where}."
    return (
        f"{clear} of {changes} changes at a single {where} {'is' if clear == 1 else 'are'} clear."
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
    figure = canvas(7.2, 3.4)
    axes = figure.subplots()
    for freeze, group in _by_depth(history, evidence.design):
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
            f"The median run is best after epoch {number(runs['best_epoch'].median(), 0)}"
            + (f"; {stopped} of {len(runs)} runs stopped early." if stopped else ".")
        ),
        caption="Lines are medians over the runs of a depth, bands their middle half; a line ends "
        "where fewer than half of the runs still train.",
        alt=sentences(data, "freeze {freeze}, epoch {epoch}: {median:.1f} %"),
        data=data,
    )


@needs_runs
def learning_rates(analysis: Analysis) -> HTML:
    """What each schedule did to the learning rate until its runs ended."""
    evidence = analysis.evidence
    rates = evidence.history.groupby("run_id")["learning_rate"]
    last = (100 * rates.last() / rates.first()).rename("last")
    runs = evidence.runs.merge(last, left_on="run_id", right_index=True)
    if "scheduler" not in runs:
        runs = runs.assign(scheduler=str(evidence.design.protocol.scheduler))
    return listing(
        {
            f"schedule:{schedule}": f"The {words.level('scheduler', schedule)} schedule lowered "
            f"the learning rate in {group['rate_dropped'].sum()} of {len(group)} runs. The median "
            f"run ended after epoch {number(group['epochs'].median(), 0)}, at "
            f"{number(group['last'].median(), 0)} % of its first rate."
            for schedule, group in runs.groupby("scheduler", sort=False)
        }
    )
