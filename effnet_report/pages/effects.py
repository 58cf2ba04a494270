"""Drawings of effects: what each choice changes, and how small a change could be seen."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from IPython.display import HTML
from scipy import stats

from effnet_core.study.design import FACTORS, HEAD_WORDS, HEADS, SCHEDULERS
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import statistics
from effnet_report.render import html
from effnet_report.render.drawing import (
    COLOUR,
    INK,
    LINE,
    MARKER,
    OURS,
    THEIRS,
    canvas,
    legend,
    needs_runs,
    sentences,
)
from effnet_report.render.html import number

MOST_SEEDS = 20


def forest(evidence: Evidence) -> HTML:
    """Forest plot: what each choice changes, the source and ours."""
    sources = {"source": (source.results(), THEIRS, "s", 0.15)}
    if evidence.finished:
        sources["this study"] = (evidence.runs, OURS, "o", -0.15)
    figure = canvas(7.2, 4.2)
    axes = figure.subplots()
    found = {}
    for name, (runs, colour, marker, offset) in sources.items():
        found[name] = statistics.factor_effects(runs)
        for place, estimate in enumerate(found[name].values()):
            height = offset - place
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=2)
            axes.plot(estimate.effect, height, marker, color=colour, label=name)
    labels = list(found["source"])
    margin = evidence.design.smallest_effect
    axes.axvspan(-margin, margin, color="#eeeeee", zorder=0, label="too small to matter")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel("change of accuracy, percentage points")
    legend(figure, axes)
    data = pd.DataFrame(
        {"source": name, "choice": choice, **asdict(estimate)}
        for name, choices in found.items()
        for choice, estimate in choices.items()
    )
    last = found[list(sources)[-1]]
    clear = [name for name, e in last.items() if e.low > 0 or e.high < 0]
    whose = "this study" if evidence.finished else "the source's table"
    finding = (
        f"In {whose}, accuracy changes "
        f"beyond what chance explains with {len(clear)} of {len(last)} choices"
        f"{': ' if clear else ''}{'; '.join(clear)}."
    )
    return html.figure(
        figure,
        "effects",
        finding=finding,
        caption=(
            "Mean change over configurations that agree in the other two factors, with 95 % "
            "intervals. Left of the line: worse. Source: best validation accuracy of each run. "
            "This study: accuracy on the test set."
        ),
        alt=sentences(data, "{source}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"),
        data=data,
    )


@needs_runs
def main_effects(evidence: Evidence) -> HTML:
    """Mean accuracy at each level of each factor, on one scale."""
    means = statistics.factor_means(evidence.runs)
    figure = canvas(7.2, 3.2)
    panels = figure.subplots(1, 3, sharey=True, width_ratios=[3, 1.4, 1.4])
    overall = evidence.configurations["accuracy"].mean()
    spans = {}
    for factor, axes in zip(FACTORS, panels, strict=True):
        shown = means[means["factor"] == factor]
        axes.plot(range(len(shown)), shown["mean"], "o-", color=OURS)
        axes.axhline(overall, color=THEIRS, linestyle=":")
        axes.set_xticks(range(len(shown)), shown["level"])
        axes.set_xlim(-0.5, len(shown) - 0.5)
        axes.set_xlabel("frozen stages" if factor == "freeze" else factor)
        spans[factor] = shown["mean"].max() - shown["mean"].min()
    panels[0].set_ylabel("mean test accuracy, %")
    order = sorted(spans, key=lambda factor: -spans[factor])
    return html.figure(
        figure,
        "main-effects",
        finding="Span of the means: "
        + ", ".join(f"{factor} {number(spans[factor])} points" for factor in order)
        + ".",
        caption="Mean over all configurations at a level; dotted: the mean of all.",
        alt=sentences(means, "{factor} {level}: mean {mean:.1f} %"),
        data=means,
    )


@needs_runs
def interaction(evidence: Evidence) -> HTML:
    """Whether head and schedule matter more at some freeze depths than at others."""
    configurations = evidence.configurations
    figure = canvas(7.2, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    styles = {
        "head": {level: (OURS, MARKER[level], LINE[level], HEAD_WORDS[level]) for level in HEADS},
        "scheduler": {level: (COLOUR[level], "o", "-", level) for level in SCHEDULERS},
    }
    tables, gaps = [], {}
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
        gaps[factor] = f"{number(gap.min())} to {number(gap.max())} points between {factor}s"
        tables.append(means.melt(ignore_index=False, var_name="level", value_name="accuracy"))
    panels[0].set_ylabel("mean test accuracy, %")
    data = pd.concat(tables).reset_index()
    return html.figure(
        figure,
        "interaction",
        finding=f"At different freeze depths there are {' and '.join(gaps.values())}.",
        caption="Parallel lines: the choice matters equally everywhere.",
        alt=sentences(data, "freeze {freeze}, {level}: {accuracy:.1f} %"),
        data=data,
    )


@needs_runs
def resolving(evidence: Evidence) -> HTML:
    """Smallest difference that a number of seeds can resolve, for two kinds of comparison."""
    seeds = range(1, MOST_SEEDS + 1)
    configurations = len(evidence.design.configurations())
    depths = len(evidence.design.factors.freeze)
    curves = {
        "head or schedule": configurations // 2,
        "two freeze depths": configurations // depths,
    }
    noise = {
        "this study": (statistics.chance(evidence.runs)[0], OURS),
        "source": (statistics.chance(source.results())[0], THEIRS),
    }
    data = pd.DataFrame(
        {
            "noise": name,
            "comparison": comparison,
            "seeds": count,
            "smallest_difference": statistics.resolvable(sd, pairs, count),
        }
        for name, (sd, _) in noise.items()
        for comparison, pairs in curves.items()
        if pairs >= 2
        for count in seeds
    )
    figure = canvas(7.2, 3.8)
    axes = figure.subplots()
    for name, (_, colour) in noise.items():
        for comparison, line in zip(curves, ("-", "--"), strict=True):
            shown = data[(data["noise"] == name) & (data["comparison"] == comparison)]
            axes.plot(
                shown["seeds"], shown["smallest_difference"], line, color=colour,
                label=f"{comparison} ({name})",
            )  # fmt: skip
    margin, done = evidence.design.smallest_effect, len(evidence.design.seeds)
    axes.axhline(margin, color=INK, linewidth=1, linestyle=":", label="smallest that matters")
    axes.axvline(done, color=INK, linewidth=1, alpha=0.3)
    axes.set(xlabel="runs of each configuration", ylabel="difference, points", ylim=(0, None))
    axes.set_xticks([1, *range(5, MOST_SEEDS + 1, 5)])
    legend(figure, axes)
    sd = noise["this study"][0]
    pairs = curves["head or schedule"]
    enough = [n for n in seeds if statistics.resolvable(sd, pairs, n) <= margin]
    wanted = f"{enough[0]} runs each" if enough else f"more than {MOST_SEEDS} runs each"
    finding = "There are too few runs to say how small a difference could be seen."
    if not np.isnan(sd):
        finding = (
            f"With {done} run{'s' if done > 1 else ''} of each configuration, a difference between "
            f"heads or schedules has to be {number(statistics.resolvable(sd, pairs, done))} points "
            f"to be seen; to see {number(margin)}, it takes {wanted}."
        )
    return html.figure(
        figure,
        "resolving-power",
        finding=finding,
        caption=(
            "Smallest true difference that a paired t test at 5 % finds four times out of five, if "
            f"single runs scatter by {number(sd)} points (this study) or "
            f"{number(noise['source'][0])} (source). Seeds do not help against effects that "
            "differ from one configuration to the next."
        ),
        alt=sentences(
            data[data["seeds"].isin([1, done, 10])],
            "{comparison}, noise of {noise}, {seeds} runs: {smallest_difference:.2f} points",
        ),
        data=data,
    )


@needs_runs
def side_by_side(evidence: Evidence) -> HTML:
    """The source's accuracy of every configuration beside ours."""
    columns = ["number", "freeze", "head", "scheduler", "accuracy"]
    table = source.results()[columns].merge(
        evidence.configurations[["number", "accuracy"]], on="number", suffixes=("_source", "")
    )
    table = table.rename(columns={"accuracy": "accuracy_here"})
    figure = canvas(7.2, 1 + 0.19 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, colour, marker, title in (
        (left, "accuracy_source", THEIRS, "s", "source: validation accuracy, %"),
        (right, "accuracy_here", OURS, "o", "this study: test accuracy, %"),
    ):
        axes.hlines(table["number"], table[column].min(), table[column], color="#dddddd")
        axes.plot(table[column], table["number"], marker, color=colour)
        axes.set_xlabel(title)
    words = [f"{row.number}: freeze {row.freeze}, {row.head}, {row.scheduler}"
             for row in table.itertuples()]  # fmt: skip
    left.set_yticks(table["number"], words, fontsize=8)
    left.invert_yaxis()
    finding = "There are too few configurations to compare two orders."
    if len(table) > 2:
        rank = stats.spearmanr(table["accuracy_source"], table["accuracy_here"])
        order = "no common order" if rank.pvalue > 1 - statistics.LEVEL else (
            "a similar order" if rank.statistic > 0 else "opposite orders"
        )  # fmt: skip
        finding = (
            f"The two studies put the configurations in {order}: rank correlation "
            f"{number(rank.statistic, 2)} (p = {number(rank.pvalue, 3)})."
        )
    return html.figure(
        figure,
        "source-and-ours",
        finding=finding,
        caption=(
            "Compare orders, not values: the images, the network and the set that was measured on "
            "differ. Rank correlation: Spearman."
        ),
        alt=sentences(
            table, "{number}: source {accuracy_source:.1f} %, here {accuracy_here:.1f} %"
        ),
        data=table,
    )
