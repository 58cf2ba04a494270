"""Drawings and tables of single runs by factor, ours and the source's alike."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import FREEZE
from effnet_report import words
from effnet_report.evidence.evidence import configuration_means
from effnet_report.numbers import number
from effnet_report.render import html
from effnet_report.render.drawing import (
    COLOUR,
    INK,
    MARKER,
    by_head_and_scheduler,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.html import paragraph, table

HEADINGS = {"number": "no.", "freeze": "frozen stages", "scheduler": "schedule"}
QUALITY = {
    "accuracy": "accuracy, %",
    "precision": "macro precision, %",
    "recall": "macro recall, %",
}


def freezing(runs: pd.DataFrame, name: str, caption: str) -> HTML:
    figure = canvas(7.2, 3.8)
    axes = figure.subplots()
    for series, (head, scheduler, group) in enumerate(by_head_and_scheduler(runs)):
        axes.plot(
            group["freeze"] + 0.12 * (series - 1.5), group["accuracy"], MARKER[head],
            color=COLOUR[scheduler], label=label(head, scheduler, group),
            markerfacecolor=COLOUR[scheduler] if head == "none" else "white",
        )  # fmt: skip
    means = runs.groupby("freeze")["accuracy"].mean()
    axes.plot(means.index, means, color=INK, label="mean", zorder=1)
    axes.set_xticks(FREEZE)
    axes.set_xlabel("frozen stages")
    axes.set_ylabel("accuracy, %")
    legend(figure, axes)
    ranked = means.sort_values()
    return html.figure(
        figure,
        name,
        finding=(
            f"Mean accuracy is highest with {ranked.index[-1]} frozen stages "
            f"({number(ranked.iloc[-1])} %) and lowest with {ranked.index[0]} "
            f"({number(ranked.iloc[0])} %)."
        ),
        caption=caption,
        alt=sentences(means.reset_index(), "freeze {freeze}: mean accuracy {accuracy:.1f} %"),
        data=runs[["number", "freeze", "head", "scheduler", "accuracy"]],
    )


def label(head: str, scheduler: str, runs: pd.DataFrame) -> str:
    """In the legend; what was not tried is not in it."""
    return words.configuration({"head": head, "scheduler": scheduler}) if len(runs) else "_"


def means(runs: pd.DataFrame, factors: Sequence[str], name: str) -> HTML:
    """Mean, lowest and highest accuracy at each level of each factor that has several."""
    configurations = configuration_means(runs, factors)
    compared = [factor for factor in factors if configurations[factor].nunique() > 1]
    if not compared:
        return paragraph(Markup("Only one configuration was tried: no factor has two levels."))
    constant = " and ".join(words.factor(name) for name in factors if name not in compared)
    tables = [
        configurations.groupby(factor)["accuracy"]
        .agg(configurations="size", mean="mean", lowest="min", highest="max")
        .rename_axis("level")
        .reset_index()
        .assign(factor=words.factor(factor))
        .replace({"level": words.LEVELS["head"]})
        for factor in compared
    ]
    order = ["factor", "level", "configurations", "mean", "lowest", "highest"]
    rows = pd.concat(tables)[order]
    span = rows.groupby("factor")["mean"].agg(lambda values: values.max() - values.min())
    order = span.sort_values(ascending=False)
    named = [f"{factor} ({number(points)} points)" for factor, points in order.items()]
    most, least = named[0], named[-1]
    return table(
        rows.rename(columns={"mean": "mean accuracy, %"}),
        name,
        finding=f"Mean accuracy differs most between the levels of {most}"
        + (f" and least between those of {least}." if len(compared) > 1 else "."),
        caption="Each level's accuracy over all configurations that have it."
        + (f" Of {constant} only one level was tried." if constant else ""),
        decimals=2,
    )


def leaders(table: pd.DataFrame, column: str) -> str:
    """The configurations with the highest value; ties are common."""
    numbers = table.loc[table[column] == table[column].max(), "number"]
    return f"configuration{'s' if len(numbers) > 1 else ''} {', '.join(str(n) for n in numbers)}"
