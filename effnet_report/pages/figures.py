"""The book's drawings. Each shows one thing; its title says what, computed from the data."""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML

from effnet_core.study.design import FREEZE, HEAD_WORDS, HEADS, SCHEDULERS
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import comparison
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages import findings
from effnet_report.render import html
from effnet_report.render.drawing import (
    COLOUR,
    INK,
    LINE,
    MARKER,
    OURS,
    THEIRS,
    by_head_and_scheduler,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.finding import needs_runs, nothing_yet


def stages(evidence: Evidence) -> HTML:
    """The backbone from image to features: parameters, compute, and where each freeze cuts."""
    if evidence.facts is None:
        return nothing_yet(evidence)
    data = pd.DataFrame([stage.model_dump() for stage in evidence.facts.stages])
    data["parameter_share"] = 100 * data["parameters"] / data["parameters"].sum()
    data["compute_share"] = 100 * data["flop_share"]
    cuts = {n: n + 0.5 for n in FREEZE[1:]}  # the stem is at 0, stage n at n
    figure = canvas(7.2, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, title in (
        (left, "parameter_share", "parameters, % of the backbone"),
        (right, "compute_share", "computation, % of a forward pass"),
    ):
        axes.barh(data.index, data[column], color=OURS, height=0.6)
        axes.set_xlabel(title)
        axes.set_xlim(0, 1.5 * data[column].max())
        axes.grid(axis="y", visible=False)
        for cut in cuts.values():
            axes.axhline(cut, color=COLOUR["cosine"], linestyle=":", linewidth=1)
    left.bar_label(left.containers[0], [f" {n:,}" for n in data["parameters"]])
    right.bar_label(right.containers[0], [f" {share:.1f} %" for share in data["compute_share"]])
    for n, cut in cuts.items():
        right.text(
            *(right.get_xlim()[1], cut), f"freeze {n} ", ha="right", va="center",
            color="#A04600", fontsize=9, backgroundcolor="white",
        )  # fmt: skip
    left.set_yticks(data.index, data["name"])
    left.invert_yaxis()
    frozen = data.loc[: FREEZE[-1], ["parameter_share", "compute_share"]].sum()
    return html.figure(
        figure,
        "stages",
        finding=(
            f"The deepest freeze fixes {number(frozen.compute_share, 0)} % of the computation and "
            f"{number(frozen.parameter_share, 0)} % of the backbone's parameters."
        ),
        caption=(
            "The image enters at the top. A dotted line is where a freeze cuts: everything above "
            "it stays as it was, everything below it and the head are trained."
        ),
        alt=sentences(
            data, "{name}: {parameters:,} parameters, {compute_share:.1f} % of the computation"
        ),
        data=data.drop(columns="flop_share"),
    )


def source_freezing() -> HTML:
    """The source's accuracies by number of frozen stages."""
    return _freezing(
        source.results(),
        "source-freezing",
        "Each point is one run: its best validation accuracy. The line joins the means.",
    )


@needs_runs
def freezing(evidence: Evidence) -> HTML:
    """Our accuracies by number of frozen stages."""
    caption = "Each point is one run: its accuracy on the test set. The line joins the means."
    return _freezing(evidence.runs, "freezing", caption)


def _freezing(runs: pd.DataFrame, name: str, caption: str) -> HTML:
    figure = canvas(7.2, 3.8)
    axes = figure.subplots()
    for place, (head, scheduler, group) in enumerate(by_head_and_scheduler(runs)):
        axes.plot(
            group["freeze"] + 0.12 * (place - 1.5), group["accuracy"], MARKER[head],
            color=COLOUR[scheduler], label=_label(head, scheduler, group),
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
            f"Mean accuracy is highest at freeze {ranked.index[-1]} ({number(ranked.iloc[-1])} %) "
            f"and lowest at freeze {ranked.index[0]} ({number(ranked.iloc[0])} %)."
        ),
        caption=caption,
        alt=sentences(means.reset_index(), "freeze {freeze}: mean accuracy {accuracy:.1f} %"),
        data=runs[["number", "freeze", "head", "scheduler", "accuracy"]],
    )


@needs_runs
def heat_map(evidence: Evidence) -> HTML:
    """Test accuracy of every configuration: freeze by head and schedule."""
    means = evidence.configurations
    table = means.pivot(index="freeze", columns=["head", "scheduler"], values="accuracy")
    tried = evidence.design.factors
    columns = [
        (h, s) for h in HEADS for s in SCHEDULERS if h in tried.head and s in tried.scheduler
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


def _label(head: str, scheduler: str, runs: pd.DataFrame) -> str:
    """In the legend; what was not tried is not in it."""
    return f"{HEAD_WORDS[head]}, {scheduler}" if len(runs) else "_"


@needs_runs
def learning_curves(evidence: Evidence) -> HTML:
    """Validation accuracy by epoch, one panel a freeze."""
    history, runs = evidence.history, evidence.runs
    depths = sorted(evidence.design.factors.freeze)
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
def learning_rates(evidence: Evidence) -> HTML:
    """Whether the plateau schedule ever acted: the rate of every run over time."""
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
def configurations(evidence: Evidence) -> HTML:
    """Every configuration with its seeds as points, the best on top."""
    runs = evidence.runs
    ranked = evidence.configurations.sort_values("accuracy").reset_index(drop=True)
    places = pd.Series(ranked.index, index=ranked["number"])
    figure = canvas(7.2, 1.2 + 0.2 * len(ranked))
    axes = figure.subplots()
    for head, scheduler, group in by_head_and_scheduler(runs):
        axes.plot(
            group["accuracy"], places[group["number"]], MARKER[head], color=COLOUR[scheduler],
            markerfacecolor=COLOUR[scheduler] if head == "none" else "white",
            label=_label(head, scheduler, group),
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
def models(evidence: Evidence) -> HTML:
    """Accuracies of the models side by side, with intervals for the number of images."""
    data = Analysis(evidence).comparison
    names = [textwrap.fill(name, 30) for name in data["model"]]
    figure = canvas(7.2, 0.9 + 0.5 * len(data))
    axes = figure.subplots()
    for whose, group in data.assign(place=-np.arange(len(data))).groupby("source"):
        colour, marker = (OURS, "o") if whose == comparison.THIS_STUDY else (THEIRS, "s")
        axes.hlines(group["place"], group["low"], group["high"], color=colour, linewidth=2)
        axes.plot(group["accuracy"], group["place"], marker, color=colour)
    axes.set_yticks([-place for place in range(len(data))], names)
    axes.set_ylim(0.6 - len(data), 0.6)
    axes.set_xlabel("accuracy, %")
    return html.figure(
        figure,
        "comparison",
        finding=findings.lift(data),
        caption=(
            "Accuracy on the test set with 95 % intervals for other images (Wilson)."
            + (
                " Grey squares: published by others with their own labels and split, so beside "
                "ours, not equal to them."
                if (data["source"] != comparison.THIS_STUDY).any()
                else ""
            )
        ),
        alt=sentences(data, "{model}: {accuracy:.1f} % ({low:.1f} to {high:.1f})"),
        data=data,
    )
