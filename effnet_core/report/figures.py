"""The book's drawings. Each shows one thing; its title says what, computed from the data."""

from collections.abc import Callable, Iterator
from functools import wraps

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effnet_core.report import comparison, findings, html, published, statistics
from effnet_core.report.evidence import HEAD_WORDS, Evidence
from effnet_core.report.html import number
from effnet_core.report.statistics import Estimate
from effnet_core.study.design import FREEZE, HEADS, SCHEDULERS

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOUR = {"plateau": "#0072B2", "cosine": "#D55E00"}
MARKER = {"none": "o", "mlp": "s"}
LINE = {"none": "-", "mlp": "--"}
INK, OURS, THEIRS = "#222222", "#0072B2", "#999999"

mpl.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e5e5e5",
        "axes.axisbelow": True,
        "legend.frameon": False,
        "svg.hashsalt": "effnet",  # the same drawing gives the same file
    }
)

Draw = Callable[[Evidence], HTML]


def needs_runs(draw: Draw) -> Draw:
    """Say so in place of a drawing that has nothing to show yet."""

    @wraps(draw)
    def drawing(evidence: Evidence) -> HTML:
        return draw(evidence) if evidence.finished else findings.nothing_yet(evidence)

    return drawing


def effects(evidence: Evidence) -> HTML:
    """Forest plot: what each choice changes, published and ours."""
    sources = {"published": (published.results(), THEIRS, "s", 0.15)}
    if evidence.finished:
        sources["this study"] = (evidence.configurations, OURS, "o", -0.15)
    figure = _canvas(7.2, 4.2)
    axes = figure.subplots()
    found = {}
    for source, (configurations, colour, marker, offset) in sources.items():
        found[source] = statistics.factor_effects(configurations)
        for place, estimate in enumerate(found[source].values()):
            height = offset - place
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=2)
            axes.plot(estimate.effect, height, marker, color=colour, label=source)
    labels = list(found["published"])
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel("change of accuracy, percentage points")
    _legend(figure, axes)
    data = pd.DataFrame(
        {"source": source, "choice": choice, **_effect_columns(estimate)}
        for source, choices in found.items()
        for choice, estimate in choices.items()
    )
    last = found[list(sources)[-1]]
    clear = [name for name, e in last.items() if e.low > 0 or e.high < 0]
    finding = f"In {_whose(evidence)}, " + (
        f"{len(clear)} of {len(last)} choices change accuracy beyond what chance explains: "
        f"{'; '.join(clear)}."
        if clear
        else f"none of {len(last)} choices changes accuracy beyond what chance explains."
    )
    return html.figure(
        figure,
        "effects",
        finding=finding,
        caption=(
            "Mean change over matched configurations, which agree in the other two factors, with "
            "95 % intervals. Left of the line: worse. Published: best validation accuracy of each "
            "run. This study: accuracy on the test set."
        ),
        alt=_sentences(
            data, "{source}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"
        ),
        data=data,
    )


def stages(evidence: Evidence) -> HTML:
    """The backbone from image to features: parameters, compute, and where each freeze cuts."""
    if evidence.facts is None:
        return findings.nothing_yet(evidence)
    data = pd.DataFrame([stage.model_dump() for stage in evidence.facts.stages])
    data["parameter_share"] = 100 * data["parameters"] / data["parameters"].sum()
    data["compute_share"] = 100 * data["flop_share"]
    cuts = {n: n + 0.5 for n in FREEZE[1:]}  # the stem is at 0, stage n at n
    figure = _canvas(7.2, 4.4)
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
        alt=_sentences(
            data, "{name}: {parameters:,} parameters, {compute_share:.1f} % of the computation"
        ),
        data=data.drop(columns="flop_share"),
    )


def published_freezing() -> HTML:
    """The source's accuracies by number of frozen stages."""
    return _freezing(
        published.results(),
        "published-freezing",
        "Each point is one run: its best validation accuracy. The line joins the means.",
    )


@needs_runs
def freezing(evidence: Evidence) -> HTML:
    """Our accuracies by number of frozen stages."""
    runs = evidence.runs.assign(accuracy=evidence.runs["test_accuracy"])
    caption = "Each point is one run: its accuracy on the test set. The line joins the means."
    return _freezing(runs, "freezing", caption)


def _freezing(runs: pd.DataFrame, name: str, caption: str) -> HTML:
    figure = _canvas(7.2, 3.8)
    axes = figure.subplots()
    for place, (head, scheduler, group) in enumerate(_by_head_and_scheduler(runs)):
        axes.plot(
            group["freeze"] + 0.12 * (place - 1.5), group["accuracy"], MARKER[head],
            color=COLOUR[scheduler], label=f"{HEAD_WORDS[head]}, {scheduler}",
            markerfacecolor=COLOUR[scheduler] if head == "none" else "white",
        )  # fmt: skip
    means = runs.groupby("freeze")["accuracy"].mean()
    axes.plot(means.index, means, color=INK, label="mean", zorder=1)
    axes.set_xticks(FREEZE)
    axes.set_xlabel("frozen stages")
    axes.set_ylabel("accuracy, %")
    _legend(figure, axes)
    ranked = means.sort_values()
    return html.figure(
        figure,
        name,
        finding=(
            f"Mean accuracy is highest at freeze {ranked.index[-1]} ({number(ranked.iloc[-1])} %) "
            f"and lowest at freeze {ranked.index[0]} ({number(ranked.iloc[0])} %)."
        ),
        caption=caption,
        alt=_sentences(means.reset_index(), "freeze {freeze}: mean accuracy {accuracy:.1f} %"),
        data=runs[["number", "freeze", "head", "scheduler", "accuracy"]],
    )


@needs_runs
def heat_map(evidence: Evidence) -> HTML:
    """Test accuracy of every configuration: freeze by head and schedule."""
    configurations = evidence.configurations
    table = configurations.pivot(index="freeze", columns=["head", "scheduler"], values="accuracy")
    columns = [(head, scheduler) for head in HEADS for scheduler in SCHEDULERS]
    table = table.reindex(columns=pd.MultiIndex.from_tuples(columns))
    figure = _canvas(7.2, 3.8)
    axes = figure.subplots()
    axes.grid(visible=False)
    sns.heatmap(
        table, annot=True, fmt=".1f", cmap="cividis", linewidths=1, ax=axes,
        cbar_kws={"label": "test accuracy, %"},
    )  # fmt: skip
    words = [f"{HEAD_WORDS[head]},\n{scheduler}" for head, scheduler in columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, words, rotation=0)
    axes.set_xlabel("")
    axes.set_ylabel("frozen stages")
    axes.tick_params(axis="y", rotation=0)
    ranked = configurations.sort_values("accuracy")["accuracy"]
    return html.figure(
        figure,
        "heat-map",
        finding=(
            f"The best configuration ({number(ranked.iloc[-1])} %) is "
            f"{number(ranked.iloc[-1] - ranked.iloc[0])} points above the worst."
        ),
        caption="Accuracy on the test set, per cent. An empty cell is a run that is missing.",
        alt=_sentences(
            configurations, "freeze {freeze}, head {head}, {scheduler}: {accuracy:.1f} %"
        ),
        data=configurations[["number", "freeze", "head", "scheduler", "accuracy"]],
    )


@needs_runs
def learning_curves(evidence: Evidence) -> HTML:
    """Validation accuracy by epoch, one panel a freeze."""
    history, runs = evidence.history, evidence.runs
    figure = _canvas(7.2, 4.6)
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for freeze, axes in zip(FREEZE, panels.flat, strict=False):
        shown = history[history["freeze"] == freeze]
        for head, scheduler, group in _by_head_and_scheduler(shown):
            for _, run in group.groupby("seed"):
                axes.plot(
                    run["epoch"], run["validation_accuracy"], LINE[head], marker=MARKER[head],
                    markersize=3, color=COLOUR[scheduler],
                    label=f"{HEAD_WORDS[head]}, {scheduler}",
                )  # fmt: skip
        axes.set_title(f"freeze {freeze}", fontsize=10)
    panels.flat[-1].axis("off")
    panels[1, 0].set_ylabel("validation accuracy, %")
    panels[0, 0].set_ylabel("validation accuracy, %")
    panels[0, 0].set_xticks(sorted(history["epoch"].unique())[:: 1 + history["epoch"].max() // 6])
    for axes in (*panels[1, :3], panels[0, 3]):
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    _legend(figure, *panels.flat)
    plateau = runs[runs["scheduler"] == "plateau"]
    return html.figure(
        figure,
        "learning-curves",
        finding=(
            f"The best epoch is number {number(runs['best_epoch'].median(), 0)} in the median run; "
            f"{runs['stopped_early'].sum()} of {len(runs)} runs stopped early, and the plateau "
            f"schedule lowered its rate in {plateau['rate_dropped'].sum()} of {len(plateau)}."
        ),
        caption="Accuracy on the validation set after each epoch, one line a run.",
        alt=_sentences(runs, "{run_id}: best epoch {best_epoch}, {validation_accuracy:.1f} %"),
        data=history,
    )


@needs_runs
def cost(evidence: Evidence) -> HTML:
    """Test accuracy against training time and against trainable parameters."""
    runs = evidence.runs.assign(
        seconds_an_epoch=lambda run: run["train_seconds"] / run["epochs"],
        millions=lambda run: run["trainable_parameters"] / 1e6,
    )
    figure = _canvas(7.2, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    colours = sns.color_palette("cividis", len(FREEZE))
    for axes, column, label in (
        (left, "seconds_an_epoch", "training time, s an epoch"),
        (right, "millions", "trainable parameters, millions"),
    ):
        for freeze, colour in zip(FREEZE, colours, strict=True):
            group = runs[runs["freeze"] == freeze]
            axes.plot(
                group[column], group["test_accuracy"], "o", color=colour,
                markeredgecolor=INK, markeredgewidth=0.5, label=f"freeze {freeze}",
            )  # fmt: skip
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
    left.set_ylabel("test accuracy, %")
    _legend(figure, left)
    means = runs.groupby("freeze")[["seconds_an_epoch", "trainable_parameters"]].mean()
    first, last = means.iloc[0], means.iloc[-1]
    return html.figure(
        figure,
        "cost",
        finding=(
            f"An epoch at freeze {means.index[-1]} takes "
            f"{number(100 * last.seconds_an_epoch / first.seconds_an_epoch, 0)} % of the time at "
            f"freeze {means.index[0]} and trains "
            f"{number(100 * last.trainable_parameters / first.trainable_parameters, 0)} % of "
            "the parameters."
        ),
        caption="Each point is one run. Up and left is better: more accurate at less cost.",
        alt=_sentences(
            means.reset_index(),
            "freeze {freeze}: {seconds_an_epoch:.1f} s an epoch, "
            "{trainable_parameters:,.0f} trainable parameters",
        ),
        data=runs[
            ["run_id", "freeze", "seconds_an_epoch", "trainable_parameters", "test_accuracy"]
        ],
    )


@needs_runs
def models(evidence: Evidence) -> HTML:
    """Accuracies of the models side by side, with intervals for the number of images."""
    data = comparison.models(evidence)
    figure = _canvas(7.2, 0.9 + 0.45 * len(data))
    axes = figure.subplots()
    for source, group in data.assign(place=-np.arange(len(data))).groupby("source"):
        colour, marker = (OURS, "o") if source == comparison.OURS else (THEIRS, "s")
        axes.hlines(group["place"], group["low"], group["high"], color=colour, linewidth=2)
        axes.plot(group["accuracy"], group["place"], marker, color=colour)
    axes.set_yticks([-place for place in range(len(data))], data["model"])
    axes.set_ylim(0.6 - len(data), 0.6)
    axes.set_xlabel("accuracy, %")
    return html.figure(
        figure,
        "comparison",
        finding=findings.lift(data),
        caption=(
            "Accuracy on the test set with 95 % intervals for the number of test images (Wilson). "
            "Grey squares: published by others with their own labels and split, so beside ours, "
            "not equal to them."
        ),
        alt=_sentences(data, "{model}: {accuracy:.1f} % ({low:.1f} to {high:.1f})"),
        data=data,
    )


def _canvas(width: float, height: float) -> Figure:
    """An empty drawing in inches; white, so that it is readable on a dark page too."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _by_head_and_scheduler(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for head in HEADS:
        for scheduler in SCHEDULERS:
            yield head, scheduler, table.query("head == @head and scheduler == @scheduler")


def _legend(figure: Figure, *panels: Axes) -> None:
    """One legend below the drawing, each entry once."""
    entries = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2)


def _whose(evidence: Evidence) -> str:
    return "this study" if evidence.finished else "the published table"


def _effect_columns(estimate: Estimate) -> dict[str, float]:
    return {"effect": estimate.effect, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _sentences(table: pd.DataFrame, template: str) -> str:
    """Every row in words, for a drawing's alt text."""
    rows = table.rename(columns=str).to_dict("records")
    return "; ".join(template.format_map(row) for row in rows) + "."
