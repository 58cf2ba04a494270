"""The page What the source found: its two tables, and how they compare with this study."""

import pandas as pd
from IPython.display import HTML

from effnet_core.study.design import SOURCE_FACTORS
from effnet_report import words
from effnet_report.evidence import source as tables
from effnet_report.inference import claims
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages.gaps import needs_runs
from effnet_report.render import factors, html
from effnet_report.render.drawing import (
    COLOUR,
    GRID,
    INK,
    MARKER,
    OURS,
    THEIRS,
    by_head_and_scheduler,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.html import finding, paragraph, table


def answer() -> HTML:
    """What follows from the source's own table."""
    table = tables.results()
    judged = [judgement for judgement in claims.of_source() if judgement.key in claims.SOURCES]
    consistent = sum(judgement.verdict == claims.CONSISTENCY["supported"] for judgement in judged)
    return finding(
        f"The source trained {len(table)} configurations once each; "
        f"{factors.leaders(table, 'accuracy')} reached the highest accuracy, "
        f"{number(table['accuracy'].max(), 2)} %.",
        f"{consistent} of its {len(judged)} conclusions are consistent over the configurations of "
        "its table; single runs cannot show whether they hold for other trainings.",
        key=f"consistent:{consistent}",
    )


def table_1() -> HTML:
    """The source's Table 1, as it stands there."""
    frame = tables.results()
    order = ["number", "head", "freeze", "scheduler", *factors.QUALITY]
    shown = frame.assign(head=frame["head"].map(words.LEVELS["head"]))[order]
    return table(
        shown.rename(columns=factors.HEADINGS | factors.QUALITY),
        "source-results",
        finding=f"The source's {factors.leaders(frame, 'accuracy')} is its most accurate.",
        caption="Table 1 of the source, row for row: the best of each training on validation.",
        decimals=2,
    )


def freezing() -> HTML:
    """The source's accuracies by number of frozen stages."""
    runs = tables.results()
    figure = canvas(7.2, 3.8)
    axes = figure.subplots()
    for series, (head, scheduler, group) in enumerate(by_head_and_scheduler(runs)):
        axes.plot(
            group["freeze"] + 0.12 * (series - 1.5), group["accuracy"], MARKER[head],
            color=COLOUR[scheduler],
            label=words.configuration({"head": head, "scheduler": scheduler}),
            markerfacecolor=COLOUR[scheduler] if head == "none" else "white",
        )  # fmt: skip
    means = runs.groupby("freeze")["accuracy"].mean()
    axes.plot(means.index, means, color=INK, label="mean", zorder=1)
    axes.set_xticks(means.index)
    axes.set_xlabel("frozen stages")
    axes.set_ylabel("accuracy, %")
    legend(figure, axes)
    ranked = means.sort_values()
    return html.figure(
        figure,
        "source-freezing",
        finding=(
            f"Mean accuracy is highest with {ranked.index[-1]} frozen stages "
            f"({number(ranked.iloc[-1])} %) and lowest with {ranked.index[0]} "
            f"({number(ranked.iloc[0])} %)."
        ),
        caption="Each point is the best validation accuracy of one run, and the line joins the "
        "means.",
        alt=sentences(means.reset_index(), "freeze {freeze}: mean accuracy {accuracy:.1f} %"),
        data=runs[["number", "freeze", "head", "scheduler", "accuracy"]],
    )


def means() -> HTML:
    """Mean, lowest and highest accuracy of the source at each level of each factor."""
    runs = tables.results()
    rows = pd.concat(
        runs.groupby(factor)["accuracy"]
        .agg(configurations="size", mean="mean", lowest="min", highest="max")
        .rename_axis("level")
        .reset_index()
        .assign(factor=words.factor(factor))
        .replace({"level": words.LEVELS["head"]})
        for factor in SOURCE_FACTORS
    )[["factor", "level", "configurations", "mean", "lowest", "highest"]]
    span = rows.groupby("factor")["mean"].agg(lambda values: values.max() - values.min())
    most, *_, least = (
        f"{factor} ({number(points)} points)"
        for factor, points in span.sort_values(ascending=False).items()
    )
    return table(
        rows.rename(columns={"mean": "mean accuracy, %"}),
        "source-means",
        finding=f"Mean accuracy differs most between the levels of {most} and least between those "
        f"of {least}.",
        caption="Each level's accuracy over all configurations that have it.",
        decimals=2,
    )


@needs_runs
def side_by_side(analysis: Analysis) -> HTML:
    """The source's accuracy of every configuration beside ours."""
    evidence = analysis.evidence
    if not evidence.design.factors.keys() <= SOURCE_FACTORS.keys():
        return paragraph(["This study compares other configurations than the source did."])
    columns = ["number", "words", *SOURCE_FACTORS, "accuracy"]
    table = tables.results()[columns].merge(
        evidence.configurations[["number", "accuracy"]], on="number", suffixes=("_source", "")
    )
    table = table.rename(columns={"accuracy": "accuracy_here"})
    figure = canvas(7.2, 1 + 0.2 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, colour, marker, title in (
        (left, "accuracy_source", THEIRS, "s", "source: validation accuracy, %"),
        (right, "accuracy_here", OURS, "o", f"this study: test {evidence.metric}, %"),
    ):
        axes.hlines(table["number"], table[column].min(), table[column], color=GRID)
        axes.plot(table[column], table["number"], marker, color=colour)
        axes.set_xlabel(title)
    named = [f"{row.number}: {words.short(row.words)}" for row in table.itertuples()]
    left.set_yticks(table["number"], named)
    left.invert_yaxis()
    finding = "Too few configurations are in both tables to compare their order."
    if len(table) > 2:
        rank = table["accuracy_source"].corr(table["accuracy_here"], method="spearman")
        finding = f"The two orders of configurations have a rank correlation of {number(rank, 2)}."
    return html.figure(
        figure,
        "source-and-ours",
        finding=finding,
        caption=(
            "Compare orders, not values: images, network and measured set differ. A rank "
            "correlation (Spearman) of 1 is the same order, 0 is no relation."
        ),
        alt=sentences(
            table, "{number}: source {accuracy_source:.1f} %, here {accuracy_here:.1f} %"
        ),
        data=table,
    )


def table_2() -> HTML:
    """The source's Table 2, as it stands there."""
    names = {"baseline": "baseline", "best_ml": "best classical", "best_dl": "best fine-tuned"}
    values = tables.comparison()
    lead = values["best_dl"] - values["best_ml"]
    return table(
        values.rename(names).rename_axis("model").reset_index().rename(columns=factors.QUALITY),
        "source-comparison",
        finding=f"The best network is {number(lead)} points above the best classical model.",
        caption="Table 2 of the source, row for row.",
    )
