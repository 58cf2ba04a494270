"""Cost against quality."""

import pandas as pd
import seaborn as sns
from IPython.display import HTML

from effnet_core.study.design import FREEZE
from effnet_report.evidence.evidence import Evidence
from effnet_report.numbers import number
from effnet_report.render import html
from effnet_report.render.drawing import INK, canvas, legend, sentences
from effnet_report.render.finding import needs_runs


def front(table: pd.DataFrame, cost: str, quality: str) -> pd.DataFrame:
    """The rows that no other row beats in quality at the same or less cost (Pareto front).

    Returns:
        Those rows, from the cheapest to the best.
    """
    ordered = table.sort_values([cost, quality], ascending=[True, False])
    before = ordered[quality].cummax().shift()
    return ordered[before.isna() | (ordered[quality] > before)]


@needs_runs
def cost(evidence: Evidence) -> HTML:
    """Test accuracy against training time and memory, with the configurations that none beats."""
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
