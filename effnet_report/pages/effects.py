"""Drawings of effects: what each choice changes, and how small a change could be seen."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from IPython.display import HTML

from effnet_core.study.design import HEAD_WORDS, HEADS, SCHEDULERS, describe
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import contrasts
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.contrasts import Compared, OneTable
from effnet_report.numbers import number
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
    sentences,
)
from effnet_report.render.finding import needs_runs
from effnet_report.render.html import paragraph

MOST_SEEDS = 10
IMAGES = np.geomspace(500, 50_000, 41).round().astype(int)


def forest(evidence: Evidence) -> HTML:
    """Forest plot: what each choice changes, all choices looked at at once."""
    compared: dict[str, tuple[Compared, str, str, float]] = {
        "source": (OneTable(source.results()), THEIRS, "s", 0.15)
    }
    ours = Analysis(evidence).estimator
    if ours.seeds:
        compared["this study"] = (ours, OURS, "o", -0.15)
    found = {name: contrasts.all_choices(one) for name, (one, *_) in compared.items()}
    labels = list(dict.fromkeys(choice for choices in found.values() for choice in choices))
    figure = canvas(7.2, 4.2)
    axes = figure.subplots()
    for name, (_, colour, marker, offset) in compared.items():
        for choice, estimate in found[name].items():
            height = offset - labels.index(choice)
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=2)
            axes.plot(estimate.effect, height, marker, color=colour, label=name)
    margin = evidence.design.smallest_effect
    axes.axvspan(-margin, margin, color="#eeeeee", zorder=0, label="too small to matter")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel("change of accuracy, percentage points")
    legend(figure, axes)
    data = pd.DataFrame(
        {"data": name, "choice": choice, **asdict(estimate)}
        for name, choices in found.items()
        for choice, estimate in choices.items()
    )
    shown = found.get("this study", {})
    clear = [name for name, e in shown.items() if e.low > 0 or e.high < 0]
    finding = "No seed has a run of every configuration yet."
    if "this study" in found:
        finding = "This study compares nothing with freeze 0, and no heads or schedules."
    if shown and not any(e.known for e in shown.values()):
        finding = "This study has no intervals: one seed cannot say what each choice changes."
    elif shown:
        changes = "change" if len(clear) > 1 else "changes"
        finding = f"{len(clear) or 'None'} of {len(shown)} choices {changes} accuracy clearly"
        finding += f": {'; '.join(clear)}." if clear else " in this study."
    return html.figure(
        figure,
        "effects",
        finding=finding,
        caption=(
            "Mean change over configurations that agree in the other two factors. This study: 95 % "
            "intervals for all choices at once, for other trainings and other images; without any "
            "effect, one study in twenty would show a clear choice. Source: consistency over its "
            "configurations, which says nothing about other trainings."
        ),
        alt=sentences(data, "{data}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"),
        data=data,
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
def resolving(evidence: Evidence) -> HTML:
    """Smallest difference that a study of so many seeds, or of so many images, can resolve."""
    analysis = Analysis(evidence)
    parts, found = analysis.components, analysis.correctness
    if not parts:
        return paragraph(["It takes two complete seeds to say how small a change could be seen."])
    seeds, images = len(found.seeds), found.images
    every = sum(getattr(evidence.finished[0].facts, f"{part}_images")
                for part in ("train", "validation", "test"))  # fmt: skip
    # Folds that are not trained yet are counted too: they bring the rest of the images.
    designs = {"as many folds over all images": (every, True)}
    if not found.folds:
        designs = {"as here": (images, False), **designs}
    rows = [
        {"comparison": name, "design": design, "seeds": count, "images": size,
         "smallest": one.smallest(count, size, folds=folds), "floor": one.floor(size)}
        for name, one in parts.items()
        for design, (size, folds) in designs.items()
        for count in range(2, MOST_SEEDS + 1)
    ]  # fmt: skip
    rows += [
        {"comparison": name, "design": "one test set", "seeds": seeds, "images": size,
         "smallest": one.smallest(seeds, size), "floor": one.floor(size)}
        for name, one in parts.items() for size in IMAGES
    ]  # fmt: skip
    data = pd.DataFrame(rows)
    figure = canvas(7.2, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    margin, colours = evidence.design.smallest_effect, _colours(list(parts))
    for (name, design), line in data.groupby(["comparison", "design"], sort=False):
        over_images = design == "one test set"
        axes, x = (right, "images") if over_images else (left, "seeds")
        style = "--" if "folds" in design and not found.folds else "-"
        axes.plot(line[x], line["smallest"], style, color=colours[name],
                  label=name if over_images else None)  # fmt: skip
        if style == "-":
            axes.plot(line[x], line["floor"], ":", color=colours[name], linewidth=1)
    for axes in (left, right):
        axes.axhline(margin, color=INK, linewidth=1, label="smallest that matters")
    kind = "each with a fold of its own" if found.folds else "dashed: in folds"
    left.set(xlabel=f"seeds ({kind})", ylabel="difference, points")
    left.set(xticks=range(2, MOST_SEEDS + 1), ylim=(0, None))
    right.set(xlabel=f"test images, with {seeds} seeds", xscale="log")
    legend(figure, right)
    now = {name: one.smallest(seeds, images, folds=found.folds) for name, one in parts.items()}
    worst = max(now, key=lambda name: now[name])
    best = min(now, key=lambda name: now[name])
    return html.figure(
        figure,
        "resolving-power",
        finding=(
            f"With {seeds} seeds and {images:,} test images, {best} have to differ by "
            f"{number(now[best])} points to be told apart, and {worst} by {number(now[worst])}."
        ),
        caption=(
            "Smallest true difference whose 95 % interval excludes zero four times out of five, "
            "from the variance that seeds and images have in this study. Dotted: what is left with "
            "any number of seeds; only more images lower it. "
            + (
                f"Left: {every:,} images in as many folds as seeds. Right: one test set for all, "
                "at most so much, as folds cannot tell what images alone explain. "
                if found.folds
                else "Dashed: if every seed tested another share of all images that a seed uses "
                "now. "
            )
            + "One seed alone resolves nothing."
        ),
        alt=sentences(
            data[data["seeds"].isin([2, seeds, MOST_SEEDS])].iloc[::4],
            "{comparison}, {seeds} seeds, {images} images ({design}): {smallest:.2f} points",
        ),
        data=data,
    )


def _colours(names: list[str]) -> dict[str, str]:
    return dict(zip(names, [OURS, COLOUR["cosine"], "#009E73", "#CC79A7"], strict=False))


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
    words = [f"{row.number}: {describe(row.freeze, row.head, row.scheduler)}"
             for row in table.itertuples()]  # fmt: skip
    left.set_yticks(table["number"], words, fontsize=8)
    left.invert_yaxis()
    finding = "There are too few configurations to compare two orders."
    if len(table) > 2:
        rank = table["accuracy_source"].corr(table["accuracy_here"], method="spearman")
        finding = f"The two orders of configurations have a rank correlation of {number(rank, 2)}."
    return html.figure(
        figure,
        "source-and-ours",
        finding=finding,
        caption=(
            "Compare orders, not values: the images, the network and the set that was measured on "
            "differ. Rank correlation: Spearman; 1 is the same order, 0 none in common."
        ),
        alt=sentences(
            table, "{number}: source {accuracy_source:.1f} %, here {accuracy_here:.1f} %"
        ),
        data=table,
    )
